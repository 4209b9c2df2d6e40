"""The reference: what the design says, as plainly as it can be written, and slowly.

It shares no code with the rules. After every command it looks at all jobs until nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from broker_queue.job import Condition, State
from tests.model.history import Seen, Spec

FINAL = {State.FINISHED, State.FAILED, State.SKIPPED, State.CANCELED}
ACCEPTS = {
    Condition.SUCCESS: {State.FINISHED},
    Condition.FAILURE: {State.FAILED},
    Condition.ANY: FINAL,
}
BACKOFF = 1_000


@dataclass
class RefJob:
    parents: list[tuple[int, Condition]]
    max_attempts: int
    is_milestone: bool
    available_at: int
    state: State = State.WAITING
    attempt: int = 0
    handover: int = 0
    cause: int | None = None
    retried_as: int | None = None


@dataclass
class Reference:
    """Plays histories by the letter of the design; no jitter, back-off of 1 s, doubled."""

    now: int = 0
    jobs: list[RefJob] = field(default_factory=list)

    def submit(self, specs: list[Spec]) -> None:
        for spec in specs:
            self.jobs.append(
                RefJob(
                    list(spec.parents),
                    spec.max_attempts,
                    spec.is_milestone,
                    self.now + spec.delay if spec.delay else 0,
                )
            )
        self._settle()

    def report(self, job: int, kind: str, handover: int) -> str:
        it = self.jobs[job]
        if it.state is State.CANCELED:
            return "canceled"
        if handover != it.handover or it.state not in (State.QUEUED, State.RUNNING):
            return "stale"
        if kind == "started":
            it.state = State.RUNNING
        elif kind == "released":
            it.state = State.QUEUED
            it.handover += 1
        elif kind == "finished":
            it.state = State.FINISHED
        elif kind == "final failure" or it.attempt >= it.max_attempts:
            it.state = State.FAILED
        else:
            it.state = State.SCHEDULED
            it.available_at = self.now + BACKOFF * 2 ** (it.attempt - 1)
        self._settle()
        return "accepted"

    def cancel(self, job: int, *, dependents: bool) -> None:
        named = {job}
        while dependents:
            more = {
                child
                for child, it in enumerate(self.jobs)
                if child not in named and any(parent in named for parent, _ in it.parents)
            }
            if not more:
                break
            named |= more
        for number in named:
            if self.jobs[number].state not in FINAL:
                self.jobs[number].state = State.CANCELED
        self._settle()

    def extend(self, job: int, parent: int, condition: Condition) -> bool:
        it = self.jobs[job]
        before = dict(it.parents)
        if job == parent:
            return False
        if parent in before:
            return before[parent] is condition
        if it.state in FINAL or it.handover > 0:
            return False
        if self._depends(parent, job):
            return False
        it.parents.append((parent, condition))
        if self.jobs[parent].state not in ACCEPTS[condition]:
            it.state = State.WAITING
        self._settle()
        return True

    def retry(self, job: int) -> bool:
        if self.jobs[job].state not in (State.FAILED, State.CANCELED):
            return False
        held = [job]
        for number in held:
            held += [
                child
                for child, it in enumerate(self.jobs)
                if it.state is State.SKIPPED and it.cause == number and child not in held
            ]
        fresh = sorted(number for number in held if self.jobs[number].retried_as is None)
        copies = {number: len(self.jobs) + index for index, number in enumerate(fresh)}
        for number in fresh:
            it = self.jobs[number]
            parents = self._parents_of_copy(it, copies)
            self.jobs.append(RefJob(parents, it.max_attempts, it.is_milestone, 0))
        for number, copy in copies.items():
            self.jobs[number].retried_as = copy
        self._settle()
        return True

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds
        self._settle()

    def seen(self) -> list[Seen]:
        return [Seen(it.state, it.attempt, it.handover, it.cause) for it in self.jobs]

    def adopt_causes(self, causes: list[int | None]) -> None:
        """Take over which of several broken edges an engine names; any of them is right."""
        for number, cause in enumerate(causes):
            if cause is not None:
                assert self.jobs[number].state is State.SKIPPED
                assert cause in self._broken(self.jobs[number])
            self.jobs[number].cause = cause

    def _broken(self, it: RefJob) -> list[int]:
        ended = [(p, c, self.jobs[p].state) for p, c in it.parents if self.jobs[p].state in FINAL]
        return [parent for parent, condition, state in ended if state not in ACCEPTS[condition]]

    def _parents_of_copy(self, it: RefJob, copies: dict[int, int]) -> list[tuple[int, Condition]]:
        """What was copied, or satisfied, or never retried is as it was; else its latest copy."""
        wanted: dict[int, set[Condition]] = {}
        order: list[int] = []
        retried: list[tuple[int, Condition, int]] = []
        for parent, condition in it.parents:
            last = self._latest(parent)
            satisfied = self.jobs[parent].state in ACCEPTS[condition]
            if parent in copies or satisfied or last == parent:
                target = copies.get(parent, parent)
                wanted.setdefault(target, set()).add(condition)
            else:
                target = copies.get(last, last)
                retried.append((parent, condition, target))
            order.append(target)
        for parent, condition, target in retried:
            both = wanted.get(target, set()) | {condition}
            if both >= {Condition.SUCCESS, Condition.FAILURE}:  # to follow it would be to no avail
                order.append(parent)
                wanted[parent] = {condition}
            else:
                wanted[target] = both
        return [
            (target, next((c for c in wanted[target] if c is not Condition.ANY), Condition.ANY))
            for target in dict.fromkeys(order)
            if target in wanted
        ]

    def _latest(self, job: int) -> int:
        while (copy := self.jobs[job].retried_as) is not None:
            job = copy
        return job

    def _depends(self, job: int, on: int) -> bool:
        """Whether a job depends, directly or through others, on another."""
        border, found = [job], {job}
        while border:
            number = border.pop()
            if number == on:
                return True
            new = {parent for parent, _ in self.jobs[number].parents} - found
            found |= new
            border += new
        return False

    def _settle(self) -> None:
        changed = True
        while changed:
            changed = False
            for number in range(len(self.jobs)):
                changed |= self._step(number)

    def _step(self, number: int) -> bool:
        it = self.jobs[number]
        if it.state is State.WAITING:
            return self._step_waiting(it)
        if it.state is State.SCHEDULED and it.available_at <= self.now:
            self._ready(it)
            return True
        return False

    def _step_waiting(self, it: RefJob) -> bool:
        broken = self._broken(it)
        if broken:
            it.state, it.cause = State.SKIPPED, broken[0]
            return True
        if any(self.jobs[parent].state not in FINAL for parent, _ in it.parents):
            return False
        self._ready(it)
        return True

    def _ready(self, it: RefJob) -> None:
        if it.available_at > self.now:
            it.state = State.SCHEDULED
        elif it.is_milestone:
            it.state = State.FINISHED
        else:
            it.state = State.QUEUED
            it.attempt += 1
            it.handover += 1
