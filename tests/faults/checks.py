"""The promises, each checked from outside once everything has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from broker_queue.graph import Graph
from broker_queue.job import Condition, FailureCode, JobId, State
from broker_queue.protocol.messages import Dependency, NewJob
from scheduler.rules.edges import SATISFIED_BY
from tests.faults.database import Options, StoredJob
from tests.faults.evidence import Evidence, Reach
from tests.faults.journal import Line
from tests.faults.plan import CHANNELS, CLAIMED

PLANNED_ERROR = "RuntimeError"
"""What the journal's jobs raise when they are to fail."""

GIVEN_UP = frozenset({FailureCode.WORKER_DIED, FailureCode.DEAD_LETTER})
"""Failures for which the broker, not the job, is the reason: its workers were killed too often."""


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
        for job in graph.jobs:
            stored = evidence.jobs.get(JobId(job.id))
            if stored is not None and (given := options_of(job)) != stored.options:
                yield f"job {job.id} was submitted with {given}, stored are {stored.options}"
    for wait in evidence.record.told:
        stored = evidence.jobs.get(wait.job)
        if stored is None or (stored.state, stored.raw_result) != (wait.state, wait.result):
            yield f"a client was told {wait}, and the database has {stored}"


def cancel_was_lost(evidence: Evidence) -> Iterator[str]:
    """A job has ended when its cancel is confirmed; one that is canceled was asked to be."""
    reach = Reach(evidence)
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
        succeed_at, most = (
            job.args["succeed_at"] + _interrupted(evidence, job),
            job.options.max_attempts,
        )
        if job.state is State.FINISHED and job.attempt != succeed_at:
            yield f"job {job.id} finished at attempt {job.attempt}, not {succeed_at}"
        if job.state is State.FAILED and not is_given_up(job):
            code = None if job.error is None else job.error.get("code")
            planned = FailureCode.TIMEOUT if job.args.get("overrun") else PLANNED_ERROR
            if succeed_at <= most or job.attempt != most or code != planned:
                yield (
                    f"job {job.id} failed with {code} at attempt {job.attempt} of {most}, and was "
                    f"to succeed at {succeed_at}"
                )
        if job.state is State.SKIPPED and not _broken_edges(evidence, job):
            yield f"job {job.id} is skipped, and none of its edges is broken"


def attempts_overlap(evidence: Evidence) -> Iterator[str]:
    """An attempt starts only after the one before it has failed, and only that often."""
    for job in evidence.starts:
        stored = evidence.jobs.get(job)
        if stored is None:
            yield f"job {job} ran and is not stored"
            continue
        first = evidence.first_starts(job)
        failed = _failures(evidence, stored)
        for attempt, start in first.items():
            if attempt > 1 and failed.get(attempt - 1, start.at) >= start.at:
                yield f"job {job}: attempt {attempt} started before attempt {attempt - 1} failed"
        if max(first) > stored.attempt:
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


def ran_elsewhere(evidence: Evidence) -> Iterator[str]:
    """A job runs only on workers that take its channel."""
    for job_id, starts in evidence.starts.items():
        job = evidence.jobs[job_id]
        for start in starts:
            taken = CHANNELS[start.victim]
            if start.channel != job.options.channel or start.channel not in taken:
                yield (
                    f"job {job_id} of channel {job.options.channel!r} ran as one of {start.channel!r} on "
                    f"{start.victim}, which takes {taken}"
                )


def ran_too_long(evidence: Evidence) -> Iterator[str]:
    """A run is stopped at its time limit, not long after."""
    for job_id, ends in evidence.ends.items():
        for end in ends:
            if end.event == "overran":
                yield f"job {job_id}: run {end.run} was not stopped at its time limit"


def started_after_its_cancel(evidence: Evidence) -> Iterator[str]:
    """A job that is claimed does not start once its cancel is confirmed.

    Unless the scheduler had granted the claim before: then it counts as running, its worker is told
    to stop, and may be slow to hear either.
    """
    for job_id, confirmed in _last_cancels(evidence).items():
        job = evidence.jobs[job_id]
        if job.type != CLAIMED or job.state is not State.CANCELED:
            continue
        for start in evidence.starts.get(job_id, ()):
            if start.at > confirmed and start.worker != job.worker:
                yield (
                    f"job {job_id} started on {start.worker} {(start.at - confirmed) / 1e6:.1f} ms "
                    f"after its cancel was confirmed; granted was it to {job.worker}"
                )


CHECKS: dict[str, Check] = {
    "confirmed, then lost": lost,
    "left open": left_open,
    "ran before its dependencies had ended": ran_too_early,
    "cancel lost, or not asked for": cancel_was_lost,
    "a result that is not its own": wrong_result,
    "not the end that it was to have": wrong_end,
    "attempts not in order": attempts_overlap,
    "grew by halves": grown_apart,
    "ran on a worker of another channel": ran_elsewhere,
    "ran past its time limit": ran_too_long,
    "started after its cancel, though claimed": started_after_its_cancel,
    "written after another had taken over": written_by_a_former_leader,
}


def late_starts(evidence: Evidence) -> list[LateStart]:
    """Return the canceled jobs that had not started when their cancel was confirmed, and then did."""
    found = []
    for job, confirmed in _last_cancels(evidence).items():
        starts = evidence.starts.get(job)
        if starts and evidence.jobs[job].state is State.CANCELED and starts[0].at > confirmed:
            found.append(LateStart(job, (starts[0].at - confirmed) / 1e6))
    return found


def is_given_up(job: StoredJob) -> bool:
    """Whether the broker delivered it too often, since its workers were killed."""
    return job.error is not None and job.error.get("code") in GIVEN_UP


def _last_cancels(evidence: Evidence) -> dict[JobId, int]:
    """Return when the last cancel of each job was confirmed."""
    reach = Reach(evidence)
    last: dict[JobId, int] = {}
    for cancel in evidence.record.canceled:
        for job in reach.of(cancel.graph, cancel.job, dependents=cancel.dependents):
            last[job] = max(cancel.at, last.get(job, 0))
    return last


def _failures(evidence: Evidence, job: StoredJob) -> dict[int, int]:
    """Return when each attempt of a job had failed, at the earliest."""
    found: dict[int, int] = {}
    for line in evidence.ends.get(job.id, ()):
        if line.event == "failed" or (line.event == "stopped" and job.overruns):
            found.setdefault(line.attempt, line.at)
    if job.overruns:
        for attempt in range(1, job.attempt):
            start = evidence.first_starts(job.id).get(attempt)
            limit = 0 if start is None else start.at + job.time_limit * 1_000_000
            found[attempt] = min(limit, found.get(attempt, limit))
    return found


def _interrupted(evidence: Evidence, job: StoredJob) -> int:
    """Return how many attempts that were to succeed ran into a short time limit.

    A worker makes them that is stopped, or killed at a time at which nobody else takes its job.
    """
    if not job.overruns:
        return 0
    first = evidence.first_starts(job.id)
    count = 0
    for attempt in range(job.args["succeed_at"], job.attempt + (job.state is State.FAILED)):
        following = first[attempt + 1].wall if attempt + 1 in first else job.finished_at or 0
        if attempt in first and following < first[attempt].wall + job.time_limit:
            break
        count += 1
    return count


def options_of(job: NewJob) -> Options:
    """Return a job's options as the database has them."""
    timeout = None if job.timeout is None else round(job.timeout * 1000)
    return Options(job.type, job.channel, job.priority, job.max_attempts, timeout)


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
