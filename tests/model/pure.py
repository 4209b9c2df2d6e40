"""The rules alone, driven in memory: what the operations do, without a database."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from broker_queue.job import Condition, State, Verdict
from scheduler.rules import edges, lifecycle
from scheduler.rules.backoff import Backoff
from scheduler.rules.edges import Standing
from scheduler.rules.inheritance import inherit
from scheduler.rules.lifecycle import Dispatch, Event, JobFacts
from tests.model.history import Seen, Spec

BACKOFF = Backoff(initial=1_000, factor=2.0, maximum=1 << 40, jitter=0.0)


@dataclass
class PureEngine:
    """Applies the rules to jobs in a list; every queued job counts as handed out."""

    now: int = 0
    transitions: int = 0
    jobs: list[JobFacts] = field(default_factory=list)
    parents: list[dict[int, Condition]] = field(default_factory=list)
    children: list[list[int]] = field(default_factory=list)
    retried_as: dict[int, int] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)

    def submit(self, specs: list[Spec]) -> None:
        for spec in specs:
            facts = JobFacts(
                key=len(self.jobs),
                state=State.WAITING,
                max_attempts=spec.max_attempts,
                queue_key=None if spec.is_milestone else 1,
                available_at=self.now + spec.delay if spec.delay else None,
                backoff=BACKOFF,
            )
            self._add(facts, dict(spec.parents))
        self._settle()

    def report(self, job: int, kind: str, handover: int) -> str:
        event: Event = {
            "finished": lifecycle.Succeed(handover),
            "failed": lifecycle.Fail(handover),
            "final failure": lifecycle.Fail(handover, retry=False),
            "started": lifecycle.Start(handover),
            "released": lifecycle.HandBack(handover),
        }[kind]
        verdict = self._apply(job, event)
        self._settle()
        return verdict.value

    def cancel(self, job: int, *, dependents: bool) -> None:
        named = [job]
        for number in named if dependents else []:
            named += [child for child in self.children[number] if child not in named]
        for number in named:
            self._apply(number, lifecycle.Cancel())
        self._settle()

    def extend(self, job: int, parent: int, condition: Condition) -> bool:
        before = self.parents[job].get(parent)
        if before is not None or job == parent:
            return before is condition
        facts = self.jobs[job]
        if facts.state.is_final or lifecycle.was_handed_out(facts):
            return False
        graph = [list(known) for known in self.parents]
        graph[job].append(parent)
        if edges.find_cycle(graph):
            return False
        self._link(parent, job, condition)
        standing = edges.judge(condition, self.jobs[parent].state)
        if standing is Standing.BROKEN:
            self._apply(job, lifecycle.Block(parent))
        elif standing is Standing.OPEN:
            self._apply(job, lifecycle.Hold(1))
        self._settle()
        return True

    def retry(self, job: int) -> bool:
        if self.jobs[job].state not in (State.FAILED, State.CANCELED):
            return False
        held = [job]
        for number in held:
            skipped = [child for child in self.children[number] if child not in held]
            held += [
                child
                for child in skipped
                if self.jobs[child].state is State.SKIPPED and self.jobs[child].cause_key == number
            ]
        fresh = sorted(number for number in held if number not in self.retried_as)
        copies = {number: len(self.jobs) + index for index, number in enumerate(fresh)}
        for number, copy in copies.items():
            before = self.jobs[number]
            self._append(
                JobFacts(
                    key=copy,
                    state=State.WAITING,
                    max_attempts=before.max_attempts,
                    queue_key=before.queue_key,
                    backoff=BACKOFF,
                )
            )
        latest = {number: self._latest(number) for number in self.retried_as}
        for number, copy in copies.items():  # one may depend on a later one
            known = [(p, c, self.jobs[p].state) for p, c in self.parents[number].items()]
            self._begin(copy, inherit(known, copies, latest).conditions)
        self.retried_as |= copies
        self._settle()
        return True

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds
        for facts in list(self.jobs):
            if facts.due_at is not None and facts.due_at <= self.now:
                self._apply(facts.key, lifecycle.Due())
        self._settle()

    def seen(self) -> list[Seen]:
        return [Seen(it.state, it.attempt, it.handover, it.cause_key) for it in self.jobs]

    def _latest(self, job: int) -> int:
        while job in self.retried_as:
            job = self.retried_as[job]
        return job

    def _add(self, facts: JobFacts, parents: dict[int, Condition]) -> None:
        self._append(facts)
        self._begin(facts.key, parents)

    def _append(self, facts: JobFacts) -> None:
        self.jobs.append(facts)
        self.parents.append({})
        self.children.append([])

    def _begin(self, key: int, parents: dict[int, Condition]) -> None:
        facts = self.jobs[key]
        for parent, condition in parents.items():
            self._link(parent, key, condition)
        states = [
            (p, c, self.jobs[p].state if p < facts.key else State.WAITING)
            for p, c in parents.items()
            if p not in self.ended
        ]
        states += [(p, c, State.WAITING) for p, c in parents.items() if p in self.ended]
        self._replace(lifecycle.begin(facts, edges.weigh(states), self.now))

    def _link(self, parent: int, child: int, condition: Condition) -> None:
        self.parents[child][parent] = condition
        self.children[parent].append(child)

    def _apply(self, job: int, event: Event) -> Verdict:
        self.transitions += 1
        after = lifecycle.decide(self.jobs[job], event, self.now)
        if isinstance(after, Verdict):
            return after
        allowed = lifecycle.TRANSITIONS[self.jobs[job].state, type(event)]
        assert after.state in allowed, (self.jobs[job], event, after)
        self._replace(after)
        return Verdict.ACCEPTED

    def _replace(self, facts: JobFacts) -> None:
        before = self.jobs[facts.key]
        if facts.state is State.QUEUED:
            facts = msgspec.structs.replace(facts, dispatch=Dispatch.PUBLISHED)
        self.jobs[facts.key] = facts
        if facts.state.is_final and not before.state.is_final:
            self.ended.append(facts.key)

    def _settle(self) -> None:
        while self.ended:
            parent = self.ended.pop(0)
            for child in self.children[parent]:
                if self.jobs[child].state is not State.WAITING:
                    continue
                standing = edges.judge(self.parents[child][parent], self.jobs[parent].state)
                event = (
                    lifecycle.Satisfy(1)
                    if standing is Standing.SATISFIED
                    else lifecycle.Block(parent)
                )
                self._apply(child, event)
