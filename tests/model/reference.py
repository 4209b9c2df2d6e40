"""The reference: what the design says, as plainly as it can be written, and slowly.

It shares no code with the rules. After everything that happens it looks at all jobs until nothing
changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from broker_queue.job import Condition, State
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

FINAL = {State.FINISHED, State.FAILED, State.SKIPPED, State.CANCELED}
ACCEPTS = {
    Condition.SUCCESS: {State.FINISHED},
    Condition.FAILURE: {State.FAILED},
    Condition.ANY: FINAL,
}
BACKOFF = 1_000
GRACE = 5_000
OUT_OF_THE_QUEUE = ("finished", "failed", "final failure", "released", "dead")
"""Reports of somebody who has taken the message out of its queue."""


class CopiesWaitForEachOther(Exception):
    """Copies of a retry would wait for each other; which of the edges is not followed is left open."""


@dataclass(slots=True)
class RefJob:
    parents: dict[int, Condition]
    max_attempts: int
    queue: int | None
    priority: int
    timeout: int | None
    graph: int | None
    available_at: int = 0
    state: State = State.WAITING
    attempt: int = 0
    handover: int = 0
    cause: int | None = None
    retried_as: int | None = None
    in_window: bool = False
    was_in_window: bool = False
    deadline: int | None = None
    lease: int | None = None
    losses: int = 0
    worker: str | None = None


@dataclass
class Reference:
    """Plays histories by the letter of the design; no jitter, back-off of 1 s, doubled."""

    now: int = 0
    jobs: list[RefJob] = field(default_factory=list)
    graphs: set[int] = field(default_factory=set)

    def play(self, step: Step) -> list[object]:
        self.now += step.milliseconds
        answers: list[object] = [self._report(report) for report in step.reports]
        answers += [self._request(request) for request in step.requests]
        self._pass_time()
        self._fill_windows()
        return answers

    def seen(self) -> list[Seen]:
        return [
            Seen(
                it.state,
                it.attempt,
                it.handover,
                it.cause,
                it.in_window,
                it.available_at
                if it.state is State.SCHEDULED
                else _earliest(it.deadline, it.lease),
            )
            for it in self.jobs
        ]

    def adopt_causes(self, causes: list[int | None]) -> None:
        """Take over which of several broken edges an engine names; any of them is right."""
        for it, cause in zip(self.jobs, causes, strict=True):
            if cause != it.cause:
                assert it.state is State.SKIPPED
                assert cause in self._broken(it)
                it.cause = cause

    def _report(self, report: Report) -> str:
        it = self.jobs[report.job]
        if it.state is State.CANCELED:
            if report.kind in OUT_OF_THE_QUEUE and report.handover == it.handover:
                it.in_window = False
            return "canceled"
        if report.handover != it.handover or it.state not in (State.QUEUED, State.RUNNING):
            return "stale"
        if report.kind == "lost" and (it.lease or 0) > self.now:
            return "stale"
        self._take(it, report)
        self._settle()
        return "accepted"

    def _take(self, it: RefJob, report: Report) -> None:
        """Do what a report of the current hand-over says."""
        if report.kind == "lost":
            self._lose(it)
        elif report.kind in ("started", "lease"):
            self._hear(it, report)
        elif report.kind == "released":
            self._leave(it, State.QUEUED)
            it.handover += 1
        elif report.kind == "finished":
            grows = report.specs or report.links
            refused = grows and not self._add(report.specs, report.links, it.graph)
            self._leave(it, State.FAILED if refused else State.FINISHED)
        elif report.kind == "failed":
            self._fail(it, report.delay)
        elif report.kind in ("final failure", "dead"):
            self._leave(it, State.FAILED)

    def _request(self, request: Request) -> object:
        match request:
            case Submit():
                return self._add(request.specs, request.links, request.graph)
            case Cancel():
                return self._cancel(request)
            case Retry():
                return self._retry(request)

    def _hear(self, it: RefJob, report: Report) -> None:
        """Note that it runs; who asks for a lease goes on, another who has started begins anew."""
        if report.kind == "lease":
            if it.state is State.QUEUED:
                self._start(it)
            it.lease = self.now + LEASE
        elif (it.state, it.worker) != (State.RUNNING, report.worker):  # else said twice
            self._start(it)
        it.worker = report.worker

    def _start(self, it: RefJob) -> None:
        self._leave(it, State.RUNNING)
        it.deadline = None if it.timeout is None else self.now + it.timeout + GRACE

    def _lose(self, it: RefJob) -> None:
        """Hand a job out again whose worker is lost; that is no attempt, but has an end too."""
        it.losses += 1
        self._leave(it, State.FAILED if it.losses == MAX_LOSSES else State.QUEUED)
        it.handover += it.state is State.QUEUED

    def _fail(self, it: RefJob, delay: int | None = None) -> None:
        if it.attempt >= it.max_attempts:
            self._leave(it, State.FAILED)
            return
        wait = BACKOFF * 2 ** (it.attempt - 1) if delay is None else delay
        self._leave(it, State.SCHEDULED)
        it.available_at = self.now + wait
        if not wait:
            self._ready(it)

    def _leave(self, it: RefJob, state: State) -> None:
        """Put a job into a state in which its message is in no queue and no clock runs."""
        it.state, it.in_window, it.deadline, it.worker = state, False, None, None
        it.lease = None

    def _skip(self, it: RefJob, cause: int) -> None:
        """A skipped job was never run: it has no attempt, even if it stood in line before."""
        self._leave(it, State.SKIPPED)
        it.attempt = it.handover = 0
        it.cause = cause

    def _cancel(self, request: Cancel) -> tuple[int, int, int] | None:
        named = set(request.jobs)
        if request.graph is not None:
            if request.graph not in self.graphs:
                return None
            named |= {n for n in self._in_graph(request.graph) if self.jobs[n].state not in FINAL}
        while request.dependents:
            more = {
                child
                for child, it in enumerate(self.jobs)
                if child not in named and not named.isdisjoint(it.parents)
            }
            if not more:
                break
            named |= more
        opened = [it for it in (self.jobs[n] for n in named) if it.state not in FINAL]
        running = sum(it.state is State.RUNNING for it in opened)
        for it in opened:
            lies_in_queue = it.in_window or (it.state is State.RUNNING and it.lease is None)
            self._leave(it, State.CANCELED)
            it.in_window = lies_in_queue
        self._settle()
        return len(opened), running, len(named) - len(opened)

    def _add(self, specs: tuple[Spec, ...], links: tuple[Link, ...], graph: int | None) -> bool:
        """Add jobs and edges, all or nothing. What was submitted before changes nothing."""
        first = len(self.jobs)
        new = [
            RefJob(
                {_number(parent, first): condition for parent, condition in spec.parents},
                spec.max_attempts,
                spec.queue,
                spec.priority,
                spec.timeout,
                graph,
                self.now + spec.delay if spec.delay else 0,
            )
            for spec in specs
        ]
        wanted = [Link(job, _number(parent, first), how) for job, parent, how in links]
        if not self._may_link(wanted, new):
            return False
        self.jobs += new
        if graph is not None:
            self.graphs.add(graph)
        ended = {number for number, it in enumerate(self.jobs) if it.state in FINAL}
        for link in wanted:
            self.jobs[link.job].parents[link.parent] = link.condition
        for job in dict.fromkeys(link.job for link in wanted):
            self._hold(job, {link.parent for link in wanted if link.job == job}, ended)
        self._settle()
        return True

    def _may_link(self, wanted: list[Link], new: list[RefJob]) -> bool:
        edges = {number: set(it.parents) for number, it in enumerate([*self.jobs, *new])}
        for job, parent, condition in wanted:
            it = self.jobs[job]
            known = it.parents.get(parent)
            if known is not None and known is not condition:
                return False
            if known is None and (it.state in FINAL or it.was_in_window):
                return False
            edges[job].add(parent)
        return not any(_leads_to(edges, link.parent, link.job) for link in wanted)

    def _hold(self, job: int, parents: set[int], ended: set[int]) -> None:
        """Make a job wait for what has not `ended` before this request, if only to its end."""
        it = self.jobs[job]
        if it.state in FINAL:  # only edges that it had before
            return
        broken = [parent for parent in self._broken(it) if parent in parents]
        if broken:
            self._skip(it, broken[0])
        elif not parents <= ended:
            self._leave(it, State.WAITING)
            it.attempt = it.handover = 0

    def _retry(self, request: Retry) -> list[tuple[int, int]] | None:
        held = list(request.jobs)
        if any(self.jobs[job].state not in (State.FAILED, State.CANCELED) for job in held):
            return None
        if request.graph is not None:
            if request.graph not in self.graphs:
                return None
            inside = self._in_graph(request.graph)
            held = [n for n in inside if self.jobs[n].state in (State.FAILED, State.CANCELED)]
            if not held:
                return None
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
            copy = RefJob(parents, it.max_attempts, it.queue, it.priority, it.timeout, it.graph)
            self.jobs.append(copy)
        for number, copied_as in copies.items():
            self.jobs[number].retried_as = copied_as
        self._refuse_circle(copies.values())
        self._settle()
        return sorted((number, self._copy_of(number)) for number in held)

    def _refuse_circle(self, copies: Iterable[int]) -> None:
        edges = {number: set(it.parents) for number, it in enumerate(self.jobs)}
        if any(_leads_to(edges, parent, copy) for copy in copies for parent in edges[copy]):
            raise CopiesWaitForEachOther

    def _parents_of_copy(self, it: RefJob, copies: dict[int, int]) -> dict[int, Condition]:
        """What was copied, or satisfied, or never retried is as it was; else its latest copy."""
        instead: dict[int, int] = {}
        wanted: dict[int, set[Condition]] = {}
        for parent, condition in it.parents.items():
            was_retried = self._latest(parent) != parent
            satisfied = self.jobs[parent].state in ACCEPTS[condition]
            if parent in copies or satisfied or not was_retried:
                instead[parent] = copies.get(parent, parent)
                wanted.setdefault(instead[parent], set()).add(condition)
        for parent, condition in it.parents.items():
            if parent in instead:
                continue
            last = self._latest(parent)
            target = copies.get(last, last)
            if wanted.get(target, set()) | {condition} >= {Condition.SUCCESS, Condition.FAILURE}:
                target = parent  # to follow it would be to no avail
            instead[parent] = target
            wanted.setdefault(target, set()).add(condition)
        return {
            target: next((c for c in wanted[target] if c is not Condition.ANY), Condition.ANY)
            for target in (instead[parent] for parent in it.parents)
        }

    def _copy_of(self, job: int) -> int:
        copy = self.jobs[job].retried_as
        assert copy is not None
        return copy

    def _latest(self, job: int) -> int:
        while (copy := self.jobs[job].retried_as) is not None:
            job = copy
        return job

    def _in_graph(self, graph: int) -> list[int]:
        return [number for number, it in enumerate(self.jobs) if it.graph == graph]

    def _broken(self, it: RefJob) -> list[int]:
        ended = [(p, c, self.jobs[p].state) for p, c in it.parents.items()]
        return [
            parent
            for parent, condition, state in ended
            if state in FINAL and state not in ACCEPTS[condition]
        ]

    def _settle(self) -> None:
        waiting = [it for it in self.jobs if it.state is State.WAITING]
        while [it for it in waiting if self._step_waiting(it)]:
            waiting = [it for it in waiting if it.state is State.WAITING]

    def _step_waiting(self, it: RefJob) -> bool:
        """Move a job on if its dependencies let it; return whether it moved."""
        broken = self._broken(it)
        if broken:
            self._skip(it, broken[0])
            return True
        if any(self.jobs[parent].state not in FINAL for parent in it.parents):
            return False
        self._ready(it)
        return True

    def _pass_time(self) -> None:
        for it in self.jobs:
            if it.state is State.SCHEDULED and it.available_at <= self.now:
                self._ready(it)
            elif it.deadline is not None and it.deadline <= self.now:
                self._fail(it)
            elif it.lease is not None and it.lease <= self.now:
                self._lose(it)
        self._settle()

    def _ready(self, it: RefJob) -> None:
        if it.available_at > self.now:
            it.state = State.SCHEDULED
        elif it.queue is None:
            it.state = State.FINISHED
        else:
            it.state = State.QUEUED
            it.attempt += 1
            it.handover += 1

    def _fill_windows(self) -> None:
        """Give each queue what it has room for: by priority, then by age."""
        for queue in {it.queue for it in self.jobs if it.queue is not None}:
            mine = [it for it in self.jobs if it.queue == queue]
            free = max(0, WINDOW - sum(it.in_window for it in mine))
            line = [it for it in mine if it.state is State.QUEUED and not it.in_window]
            for it in sorted(line, key=lambda it: -it.priority)[: max(0, free)]:
                it.in_window = it.was_in_window = True


def _earliest(*times: int | None) -> int | None:
    return min((time for time in times if time is not None), default=None)


def _number(parent: int, first: int) -> int:
    return parent if parent >= 0 else first + ~parent


def _leads_to(edges: dict[int, set[int]], start: int, end: int) -> bool:
    """Whether a job depends on another, directly or through others; every job on itself."""
    border, found = [start], {start}
    while border:
        number = border.pop()
        if number == end:
            return True
        new = edges[number] - found
        found |= new
        border += new
    return False
