"""The rules alone, driven in memory: what the operations do, without a database."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from broker_queue.job import Condition, State, Verdict
from scheduler.rules import edges, lifecycle
from scheduler.rules.backoff import Backoff
from scheduler.rules.edges import Standing
from scheduler.rules.inheritance import inherit
from scheduler.rules.lifecycle import Dispatch, Event, JobFacts
from tests.model.history import (
    LEASE,
    MAX_LOSSES,
    WINDOW,
    Cancel,
    Link,
    Report,
    Request,
    Retry,
    Seen,
    Spec,
    Step,
    Submit,
)

BACKOFF = Backoff(initial=1_000, factor=2.0, maximum=1 << 40, jitter=0.0)

RETRIABLE = (State.FAILED, State.CANCELED)


def event_of(report: Report) -> lifecycle.Report | None:
    """Return the event that a report is; None: progress only."""
    number = report.handover
    match report.kind:
        case "started":
            return lifecycle.Start(number, report.worker)
        case "lease":
            return lifecycle.Lease(number, LEASE, report.worker)
        case "lost":
            return lifecycle.Lapse(number, MAX_LOSSES)
        case "finished":
            return lifecycle.Succeed(number)
        case "failed":
            return lifecycle.Fail(number, delay=report.delay)
        case "final failure":
            return lifecycle.Fail(number, retry=False)
        case "released":
            return lifecycle.HandBack(number)
        case "dead":
            return lifecycle.Die(number)
    return None


@dataclass
class PureEngine:
    """Applies the rules to jobs in a list."""

    now: int = 0
    accepted: Counter[tuple[State, type[Event]]] = field(default_factory=Counter)
    jobs: list[JobFacts] = field(default_factory=list)
    specs: list[tuple[int, int | None]] = field(default_factory=list)
    """Of each job: its priority and its graph."""
    parents: list[dict[int, Condition]] = field(default_factory=list)
    children: list[list[int]] = field(default_factory=list)
    retried_as: dict[int, int] = field(default_factory=dict)
    graphs: set[int] = field(default_factory=set)
    ended: list[int] = field(default_factory=list)

    def play(self, step: Step) -> list[object]:
        self.now += step.milliseconds
        answers: list[object] = [self._report(report).value for report in step.reports]
        self._settle()
        answers += [self._request(request) for request in step.requests]
        for facts in sorted(self.jobs, key=lambda facts: facts.due_at or 0):
            if facts.due_at is not None and facts.due_at <= self.now:
                self._apply(facts.key, self._due(facts))
        self._settle()
        self._hand_out()
        return answers

    def _due(self, facts: JobFacts) -> Event:
        if facts.state is State.SCHEDULED:
            return lifecycle.Due()
        if facts.time_limit is not None and facts.time_limit <= self.now:
            return lifecycle.TimeOut()
        return lifecycle.Lapse(facts.handover, MAX_LOSSES)

    def seen(self) -> list[Seen]:
        return [
            Seen(
                it.state,
                it.attempt,
                it.handover,
                it.cause_key,
                it.dispatch is not Dispatch.NONE,
                it.due_at,
            )
            for it in self.jobs
        ]

    def _report(self, report: Report) -> Verdict:
        facts, event = self.jobs[report.job], event_of(report)
        probe = lifecycle.decide(facts, event or lifecycle.HandBack(report.handover), self.now)
        if isinstance(probe, Verdict):
            holds = isinstance(event, lifecycle.Start | lifecycle.Lease | lifecycle.Lapse)
            ends = isinstance(event, lifecycle.Report) and not holds
            if ends and facts.handover == report.handover:
                self.jobs[report.job] = msgspec.structs.replace(facts, dispatch=Dispatch.NONE)
            return probe
        if event is None:
            return Verdict.ACCEPTED
        if report.specs or report.links:
            self._settle()
            graph = self.specs[report.job][1]
            if not self._add(Submit(report.specs, report.links, graph)):
                event = lifecycle.Fail(report.handover, retry=False)
        return self._apply(report.job, event)

    def _request(self, request: Request) -> object:
        match request:
            case Submit():
                return self._add(request)
            case Cancel():
                return self._cancel(request)
            case Retry():
                return self._retry(request)

    def _add(self, request: Submit) -> bool:
        first = len(self.jobs)
        links = [
            Link(job, _number(parent, first), condition) for job, parent, condition in request.links
        ]
        if not self._may_link(links, request.specs):
            return False
        for spec in request.specs:
            self._append(self._facts(spec), spec.priority, request.graph)
        for number, spec in enumerate(request.specs, first):
            self._begin(number, {_number(p, first): how for p, how in spec.parents})
        if request.graph is not None:
            self.graphs.add(request.graph)
        by_job: dict[int, dict[int, Condition]] = {}
        for job, parent, condition in links:
            if parent not in self.parents[job]:
                by_job.setdefault(job, {})[parent] = condition
        for job, added in by_job.items():
            self._link(job, added)
        self._settle()
        return True

    def _may_link(self, links: list[Link], specs: tuple[Spec, ...]) -> bool:
        first = len(self.jobs)
        graph = [list(known) for known in self.parents]
        graph += [[_number(parent, first) for parent, _ in spec.parents] for spec in specs]
        for job, parent, condition in links:
            before = self.parents[job].get(parent)
            if before is None:
                facts = self.jobs[job]
                if facts.state.is_final or lifecycle.was_handed_out(facts):
                    return False
                graph[job].append(parent)
            elif before is not condition:
                return False
        return not links or edges.find_cycle(graph) is None

    def _link(self, job: int, added: dict[int, Condition]) -> None:
        for parent, condition in added.items():
            self._connect(parent, job, condition)
        weighed = edges.weigh(self._standing(parent, how) for parent, how in added.items())
        if weighed.broken is not None:
            self._apply(job, lifecycle.Block(weighed.broken))
        elif weighed.open:
            self._apply(job, lifecycle.Hold(weighed.open))

    def _cancel(self, request: Cancel) -> tuple[int, int, int] | None:
        named = list(dict.fromkeys(request.jobs))
        if request.graph is not None:
            if request.graph not in self.graphs:
                return None
            named += [n for n in self._in_graph(request.graph) if not self.jobs[n].state.is_final]
        for number in named if request.dependents else []:
            named += [child for child in self.children[number] if child not in named]
        before = [self.jobs[number].state for number in named]
        verdicts = [self._apply(number, lifecycle.Cancel()) for number in named]
        self._settle()
        canceled = [s for s, v in zip(before, verdicts, strict=True) if v is Verdict.ACCEPTED]
        return len(canceled), canceled.count(State.RUNNING), len(named) - len(canceled)

    def _retry(self, request: Retry) -> list[tuple[int, int]] | None:
        held = list(request.jobs)
        if any(self.jobs[job].state not in RETRIABLE for job in held):
            return None
        if request.graph is not None:
            held = [n for n in self._in_graph(request.graph) if self.jobs[n].state in RETRIABLE]
        if not held:
            return None
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
            facts = JobFacts(
                key=copy,
                state=State.WAITING,
                max_attempts=before.max_attempts,
                queue_key=before.queue_key,
                timeout=before.timeout,
                backoff=BACKOFF,
            )
            self._append(facts, *self.specs[number])
        latest = {number: self._latest(number) for number in self.retried_as}
        known = {
            number: [(p, c, self.jobs[p].state) for p, c in self.parents[number].items()]
            for number in copies
        }
        for number, inherited in inherit(known, copies, latest).items():
            self._begin(copies[number], inherited.conditions)  # it may depend on a later one
        self.retried_as |= copies
        self._settle()
        return sorted((number, self.retried_as[number]) for number in held)

    def _latest(self, job: int) -> int:
        while job in self.retried_as:
            job = self.retried_as[job]
        return job

    def _in_graph(self, graph: int) -> list[int]:
        return [number for number, (_, mine) in enumerate(self.specs) if mine == graph]

    def _facts(self, spec: Spec) -> JobFacts:
        return JobFacts(
            key=len(self.jobs),
            state=State.WAITING,
            max_attempts=spec.max_attempts,
            queue_key=spec.queue,
            available_at=self.now + spec.delay if spec.delay else None,
            timeout=spec.timeout,
            backoff=BACKOFF,
        )

    def _append(self, facts: JobFacts, priority: int, graph: int | None) -> None:
        self.jobs.append(facts)
        self.specs.append((priority, graph))
        self.parents.append({})
        self.children.append([])

    def _begin(self, key: int, parents: dict[int, Condition]) -> None:
        for parent, condition in parents.items():
            self._connect(parent, key, condition)
        standings = [self._standing(parent, how) for parent, how in parents.items()]
        self._replace(lifecycle.begin(self.jobs[key], edges.weigh(standings), self.now))

    def _standing(self, parent: int, condition: Condition) -> tuple[int, Condition, State]:
        """Return an edge as it begins: one whose end is still to be told is open until then."""
        state = State.WAITING if parent in self.ended else self.jobs[parent].state
        return parent, condition, state

    def _connect(self, parent: int, child: int, condition: Condition) -> None:
        self.parents[child][parent] = condition
        self.children[parent].append(child)

    def _apply(self, job: int, event: Event) -> Verdict:
        before = self.jobs[job]
        after = lifecycle.decide(before, event, self.now)
        if isinstance(after, Verdict):
            return after
        self.accepted[before.state, type(event)] += 1
        allowed = lifecycle.TRANSITIONS[before.state, type(event)]
        assert after.state in allowed, (before, event, after)
        self._replace(after)
        return Verdict.ACCEPTED

    def _replace(self, facts: JobFacts) -> None:
        before = self.jobs[facts.key]
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

    def _hand_out(self) -> None:
        lines: dict[int, list[JobFacts]] = {}
        taken: Counter[int | None] = Counter()
        for facts in self.jobs:
            if facts.dispatch is not Dispatch.NONE:
                taken[facts.queue_key] += 1
            elif facts.state is State.QUEUED and facts.queue_key is not None:
                lines.setdefault(facts.queue_key, []).append(facts)
        for queue_key, line in lines.items():
            line.sort(key=lambda facts: (-self.specs[facts.key][0], facts.key))
            for facts in line[: max(0, WINDOW - taken[queue_key])]:
                dispatch = Dispatch.PUBLISHED if facts.key % 2 else Dispatch.PUBLISHING
                self.jobs[facts.key] = msgspec.structs.replace(facts, dispatch=dispatch)


def _number(parent: int, first: int) -> int:
    return parent if parent >= 0 else first + ~parent
