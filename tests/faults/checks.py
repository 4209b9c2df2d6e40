"""The promises, each checked from outside once everything has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from broker_queue.graph import Graph
from broker_queue.job import Condition, FailureCode, JobId, State
from broker_queue.protocol.messages import Dependency, NewJob
from scheduler.rules.edges import SATISFIED_BY
from tests.faults import cancels, retries
from tests.faults.database import Options, StoredJob
from tests.faults.evidence import Evidence
from tests.faults.journal import Line
from tests.faults.record import Told
from tests.faults.works import CHANNELS

PLANNED_ERROR = "RuntimeError"
"""What the journal's jobs raise when they are to fail."""

GIVEN_UP = frozenset({FailureCode.WORKER_DIED, FailureCode.DEAD_LETTER})
"""Failures for which the broker, not the job, is the reason: its workers were killed too often."""


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
    """Every graph whose submit was confirmed is stored, all of it, as it was given."""
    for graph, is_confirmed in evidence.record.graphs():
        if is_confirmed:
            yield from _not_stored(evidence, graph)
    for wait in evidence.record.of(Told):
        stored = evidence.jobs.get(wait.job)
        if stored is None or (stored.state, stored.raw_result) != (wait.state, wait.result):
            yield f"a client was told {wait}, and the database has {stored}"


def stored_by_halves(evidence: Evidence) -> Iterator[str]:
    """A graph whose submit was not confirmed is stored, all of it, or nothing is."""
    for graph, is_confirmed in evidence.record.graphs():
        if not is_confirmed and any(job.id in evidence.jobs for job in graph.jobs):
            yield from _not_stored(evidence, graph)


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
        job = evidence.jobs[start.job]
        for parent, value in start.inputs.items():
            result = evidence.jobs[retries.stands_for(evidence, job, JobId(parent))].result
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


CHECKS: dict[str, Check] = {
    "confirmed, then lost": lost,
    "submitted by halves": stored_by_halves,
    "left open": left_open,
    "ran before its dependencies had ended": ran_too_early,
    "cancel lost, or not asked for": cancels.cancel_was_lost,
    "canceled by halves": cancels.canceled_by_halves,
    "retry lost, or done twice": retries.retry_was_lost,
    "a copy that is none": retries.copies_differ,
    "retried by halves": retries.copied_by_halves,
    "copied, and nobody asked for it": retries.nobody_retried,
    "a result that is not its own": wrong_result,
    "not the end that it was to have": wrong_end,
    "attempts not in order": attempts_overlap,
    "grew by halves": grown_apart,
    "ran on a worker of another channel": ran_elsewhere,
    "ran past its time limit": ran_too_long,
    "started after its cancel, though claimed": cancels.started_after_its_cancel,
    "written after another had taken over": written_by_a_former_leader,
}


def violations(evidence: Evidence) -> dict[str, list[str]]:
    """Return the cases that each check has found."""
    return {what: list(_guarded(check(evidence))) for what, check in CHECKS.items()}


def _guarded(cases: Iterator[str]) -> Iterator[str]:
    """Yield cases; a check that stumbles over what is missing has found something, too."""
    try:
        yield from cases
    except KeyError as error:
        yield f"job {error} is not stored"


def is_given_up(job: StoredJob) -> bool:
    """Whether the broker delivered it too often, since its workers were killed."""
    return job.error is not None and job.error.get("code") in GIVEN_UP


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


def _not_stored(evidence: Evidence, graph: Graph) -> Iterator[str]:
    wanted = _wanted(graph)
    for job in graph.jobs:
        stored = evidence.jobs.get(JobId(job.id))
        if stored is None:
            yield f"job {job.id} of graph {graph.id} is not stored"
            continue
        edges = wanted[stored.id]
        if not edges.items() <= stored.edges.items():
            yield f"job {job.id} lost edges: {edges} became {stored.edges}"
        if (given := options_of(job)) != stored.options:
            yield f"job {job.id} was submitted with {given}, stored are {stored.options}"


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
