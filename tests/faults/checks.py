"""The promises, each checked from outside once everything has ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from broker_queue.graph import Graph
from broker_queue.job import Condition, FailureCode, GraphId, JobId, State
from broker_queue.protocol.messages import Dependency
from scheduler.rules.edges import SATISFIED_BY
from tests.faults.client import Record
from tests.faults.database import StoredJob
from tests.faults.journal import Line

PLANNED_ERROR = "RuntimeError"
"""What the journal's jobs raise when they are to fail."""

GIVEN_UP = frozenset({FailureCode.WORKER_DIED, FailureCode.DEAD_LETTER})
"""Failures for which the broker, not the job, is the reason: its workers were killed too often."""


@dataclass(slots=True)
class Evidence:
    """What is known at the end.

    Attributes:
        jobs: from the database.
        lines: of all journals, in the order in which they happened.
        record: what clients were told.
        epochs: of the schedulers' transactions, in their order.
    """

    jobs: dict[JobId, StoredJob]
    lines: Sequence[Line]
    record: Record
    epochs: Sequence[int]
    starts: dict[JobId, list[Line]] = field(init=False)
    ends: dict[JobId, list[Line]] = field(init=False)

    def __post_init__(self) -> None:
        self.starts, self.ends = {}, {}
        for line in self.lines:
            found = self.starts if line.event == "start" else self.ends
            found.setdefault(line.job, []).append(line)

    def accepted(self, job: StoredJob) -> Line | None:
        """Return the end of the run whose result is the job's."""
        run = job.result.get("run") if isinstance(job.result, dict) else None
        found = (line for line in self.ends.get(job.id, ()) if line.run == run)
        return next(found, None)


class LateStart(NamedTuple):
    """A canceled job that began to run after its cancel was confirmed."""

    job: JobId
    milliseconds: float


Check = Callable[[Evidence], Iterator[str]]


def ran_too_early(evidence: Evidence) -> Iterator[str]:
    """No job starts before each of its edges is satisfied."""
    for job in evidence.jobs.values():
        starts = evidence.starts.get(job.id)
        if not starts:
            continue
        for parent_id, condition in job.edges.items():
            parent = evidence.jobs[parent_id]
            if parent.state not in SATISFIED_BY[condition]:
                yield f"job {job.id} ran though {parent_id} is {parent.state} ({condition})"
                continue
            if parent.finished_at is None or parent.finished_at > starts[0].wall:
                yield f"job {job.id} ran before the end of {parent_id} was stored"
            end = _end_of(evidence, parent)
            if end is not None and end.at > starts[0].at:
                yield f"job {job.id} ran before {parent_id} ended on its worker"


def lost(evidence: Evidence) -> Iterator[str]:
    """Every confirmed graph is stored, all of it, with its edges."""
    for graph in evidence.record.submitted:
        for job_id, edges in _wanted(graph).items():
            stored = evidence.jobs.get(job_id)
            if stored is None:
                yield f"job {job_id} of graph {graph.id} was confirmed and is not stored"
            elif not edges.items() <= stored.edges.items():
                yield f"job {job_id} lost edges: {edges} became {stored.edges}"
    for wait in evidence.record.told:
        stored = evidence.jobs.get(wait.job)
        if stored is None or (stored.state, stored.raw_result) != (wait.state, wait.result):
            yield f"a client was told {wait}, and the database has {stored}"


def cancel_was_lost(evidence: Evidence) -> Iterator[str]:
    """A job has ended when its cancel is confirmed; one that is canceled was asked to be."""
    reach = _Reach(evidence)
    for cancel in evidence.record.canceled:
        for job_id in reach.of(cancel.graph, cancel.job, dependents=cancel.dependents):
            job = evidence.jobs[job_id]
            if job.graph == cancel.graph and (job.finished_at or cancel.wall + 1) > cancel.wall:
                yield f"job {job_id} had not ended when its cancel was confirmed; it is {job.state}"
    asked: set[JobId] = set()
    for graph, plan in evidence.record.cancels_sent:
        asked |= reach.of(graph, plan.job, dependents=plan.dependents)
    for job in evidence.jobs.values():
        if job.state is State.CANCELED and job.id not in asked:
            yield f"job {job.id} is canceled, and nobody asked for it"


def wrong_result(evidence: Evidence) -> Iterator[str]:
    """A result is what a run of this job gave, and what dependents were given of it."""
    for job in evidence.jobs.values():
        if job.state is State.FINISHED and job.type is not None:
            end = evidence.accepted(job)
            if end is None:
                yield f"job {job.id}: no worker wrote its result {job.result}"
            elif end.result != job.result:
                yield f"job {job.id}: result {job.result}, its worker wrote {end.result}"
            elif (end.attempt, end.handover) != (job.attempt, job.handover):
                yield (
                    f"job {job.id}: attempt {job.attempt}, hand-over {job.handover}, its result is "
                    f"of attempt {end.attempt}, hand-over {end.handover}"
                )
        elif job.raw_result is not None and job.type is not None:
            yield f"job {job.id} is {job.state} and has a result"
    for start in evidence.lines:
        for parent, value in start.inputs.items():
            result = evidence.jobs[JobId(parent)].result
            if not isinstance(result, dict) or result["run"] != value:
                yield f"job {start.job} was given {value} of {parent}, whose result is {result}"


def wrong_end(evidence: Evidence) -> Iterator[str]:
    """A job ends as it was to end: neither fewer nor more attempts count than it needed."""
    for job in evidence.jobs.values():
        if job.type is None:
            continue
        succeed_at, most = job.args["succeed_at"], job.max_attempts
        if job.state is State.FINISHED and job.attempt != succeed_at:
            yield f"job {job.id} finished at attempt {job.attempt}, not {succeed_at}"
        if job.state is State.FAILED and not is_given_up(job):
            code = None if job.error is None else job.error.get("code")
            if succeed_at <= most or job.attempt != most or code != PLANNED_ERROR:
                yield (
                    f"job {job.id} failed with {code} at attempt {job.attempt} of {most}, and was "
                    f"to succeed at {succeed_at}"
                )
        if job.state is State.SKIPPED and not _broken_edges(evidence, job):
            yield f"job {job.id} is skipped, and none of its edges is broken"


def attempts_overlap(evidence: Evidence) -> Iterator[str]:
    """An attempt starts only after the one before it has failed, and only that often."""
    for job, starts in evidence.starts.items():
        first: dict[int, int] = {}
        for line in starts:
            first.setdefault(line.attempt, line.at)
        failed: dict[int, int] = {}
        for line in evidence.ends.get(job, ()):
            if line.event == "failed":
                failed.setdefault(line.attempt, line.at)
        for attempt, at in first.items():
            if attempt > 1 and failed.get(attempt - 1, at) >= at:
                yield f"job {job}: attempt {attempt} started before attempt {attempt - 1} failed"
        stored = evidence.jobs.get(job)
        if stored is None:
            yield f"job {job} ran and is not stored"
        elif max(first) > stored.attempt:
            yield f"job {job} ran attempt {max(first)}, and {stored.attempt} are counted"


def grown_apart(evidence: Evidence) -> Iterator[str]:
    """The jobs that a run added exist if its result is the job's, and only then."""
    for ends in evidence.ends.values():
        for end in ends:
            if not end.grown:
                continue
            job = evidence.jobs[end.job]
            is_accepted = job.state is State.FINISHED and evidence.accepted(job) is end
            present = [child for child in end.grown if child in evidence.jobs]
            if len(present) != (len(end.grown) if is_accepted else 0):
                yield f"job {end.job}: of {len(end.grown)} jobs that it added {len(present)} exist"
            elif is_accepted:
                join = evidence.jobs[JobId(job.args["join"])]
                if not set(end.grown) <= set(join.edges):
                    yield f"job {join.id} does not wait for what {end.job} added"


def left_open(evidence: Evidence) -> Iterator[str]:
    """Every job ends, and its message is gone."""
    for job in evidence.jobs.values():
        if not job.state.is_final:
            yield (
                f"job {job.id} is {job.state} for ever (attempt {job.attempt}, hand-over "
                f"{job.handover}, dispatch {job.dispatch}, runs {len(evidence.starts.get(job.id, ()))})"
            )
        elif job.dispatch:
            yield f"job {job.id} is {job.state}, and its place in the window was never freed"


def written_by_a_former_leader(evidence: Evidence) -> Iterator[str]:
    """A scheduler from which another has taken over writes nothing any more."""
    for number, (before, epoch) in enumerate(pairwise(evidence.epochs), 2):
        if epoch < before:
            yield f"transaction {number} is of epoch {epoch}, the one before it of {before}"


CHECKS: dict[str, Check] = {
    "confirmed, then lost": lost,
    "left open": left_open,
    "ran before its dependencies had ended": ran_too_early,
    "cancel lost, or not asked for": cancel_was_lost,
    "a result that is not its own": wrong_result,
    "not the end that it was to have": wrong_end,
    "attempts not in order": attempts_overlap,
    "grew by halves": grown_apart,
    "written after another had taken over": written_by_a_former_leader,
}


def late_starts(evidence: Evidence) -> list[LateStart]:
    """Return the canceled jobs that had not started when their cancel was confirmed, and then did."""
    found = []
    reach = _Reach(evidence)
    last: dict[JobId, int] = {}
    for cancel in evidence.record.canceled:
        for job in reach.of(cancel.graph, cancel.job, dependents=cancel.dependents):
            last[job] = max(cancel.at, last.get(job, 0))
    for job, confirmed in last.items():
        starts = evidence.starts.get(job)
        if starts and evidence.jobs[job].state is State.CANCELED and starts[0].at > confirmed:
            found.append(LateStart(job, (starts[0].at - confirmed) / 1e6))
    return found


def is_given_up(job: StoredJob) -> bool:
    """Whether the broker delivered it too often, since its workers were killed."""
    return job.error is not None and job.error.get("code") in GIVEN_UP


def _end_of(evidence: Evidence, job: StoredJob) -> Line | None:
    """Return the run's end that ended this job, if a worker did."""
    if job.state is State.FINISHED:
        return evidence.accepted(job)
    if job.state is State.FAILED:
        failed = (
            line
            for line in evidence.ends.get(job.id, ())
            if line.event == "failed" and line.attempt == job.attempt
        )
        return next(failed, None)
    return None


def _broken_edges(evidence: Evidence, job: StoredJob) -> list[JobId]:
    return [
        parent
        for parent, condition in job.edges.items()
        if evidence.jobs[parent].state.is_final
        and evidence.jobs[parent].state not in SATISFIED_BY[condition]
    ]


def _wanted(graph: Graph) -> dict[JobId, dict[JobId, Condition]]:
    """Return the edges of a graph as its client gave them."""
    found: dict[JobId, dict[JobId, Condition]] = {}
    for job in graph.jobs:
        edges = found[JobId(job.id)] = {}
        for target in job.dependencies:
            if isinstance(target, Dependency):
                edges[JobId(str(target.job))] = target.condition
            else:
                edges[JobId(str(target))] = Condition.SUCCESS
        for reference in job.references:
            edges[JobId(str(reference.job))] = Condition.SUCCESS
    return found


class _Reach:
    """Which jobs a cancel may have reached."""

    def __init__(self, evidence: Evidence) -> None:
        self._children: dict[JobId, list[JobId]] = defaultdict(list)
        self._graphs: dict[GraphId | None, set[JobId]] = defaultdict(set)
        for job in evidence.jobs.values():
            self._graphs[job.graph].add(job.id)
            for parent in job.edges:
                self._children[parent].append(job.id)

    def of(self, graph: GraphId, job: JobId | None, *, dependents: bool) -> set[JobId]:
        """Return the jobs that a cancel names: a whole graph, or one job, or its dependents too."""
        if job is None:
            return self._graphs[graph]
        found = {job}
        border = list(found) if dependents else []
        while border:
            following = {child for each in border for child in self._children.get(each, ())}
            border = list(following - found)
            found |= following
        return found
