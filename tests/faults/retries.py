"""What is promised of retries by hand, checked from outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from broker_queue.job import JobId, State
from tests.faults.database import StoredJob
from tests.faults.evidence import Evidence
from tests.faults.record import RetrySent

RETRIABLE = (State.FAILED, State.CANCELED)


def retry_was_lost(evidence: Evidence) -> Iterator[str]:
    """A confirmed retry has its copies, and repeating it makes no others."""
    for sent, confirmed in evidence.record.retries():
        known: dict[JobId, JobId] = {}
        for retried in confirmed:
            if sent.job is not None and sent.job not in retried.copies:
                yield f"job {sent.job} was retried, and the answer names no copy of it"
            for original, copy in retried.copies.items():
                if known.setdefault(original, copy) != copy:
                    yield f"job {original} was retried as {known[original]}, then as {copy}"
        for original, copy in known.items():
            stored = evidence.jobs.get(copy)
            if stored is None or stored.retry_of != original:
                yield f"job {original} was retried as {copy}, and that is {stored}"
            if evidence.jobs[original].retried_as != copy:
                yield f"job {original} was retried as {copy}, and does not say so"


def copies_differ(evidence: Evidence) -> Iterator[str]:
    """A job has one copy at most, which does the same after the same, or after copies of that."""
    for copy in evidence.jobs.values():
        if copy.retry_of is None:
            continue
        original = evidence.jobs[copy.retry_of]
        if original.retried_as != copy.id:  # then there are two
            yield f"job {copy.id} is a copy of {original.id}, whose copy is {original.retried_as}"
        for what in ("options", "args", "graph"):
            given, found = getattr(original, what), getattr(copy, what)
            if given != found:
                yield f"job {copy.id} has {what} {found}, its original {given}"
        yield from _edges_that_differ(evidence, original, copy)


def copied_by_halves(evidence: Evidence) -> Iterator[str]:
    """A retry copies all that had failed by then and was asked for, and all skipped because of it."""
    skipped = _skipped_because(evidence)
    for root in evidence.jobs.values():
        if root.state in RETRIABLE and root.retried_as is not None:
            copied_at = evidence.jobs[root.retried_as].queued_at
            for job in skipped.get(root.id, ()):
                if job.retried_as is None and _ended_before(job, copied_at):
                    yield f"job {root.id} was retried without {job.id}, skipped because of it"
    for sent, confirmed in evidence.record.retries():
        if sent.job is None:
            roots = _failed_before(evidence, sent)
            left = [job.id for job in roots if job.retried_as is None]
            if left and (confirmed or len(left) < len(roots)):
                yield f"graph {sent.graph} was retried without {', '.join(left)}"


def nobody_retried(evidence: Evidence) -> Iterator[str]:
    """A job is copied only if that, or what it was skipped because of, was asked for."""
    named = {sent.job for sent, _ in evidence.record.retries() if sent.job is not None}
    graphs = {sent.graph for sent, _ in evidence.record.retries() if sent.job is None}
    skipped = _skipped_because(evidence)
    asked = {
        job.id
        for job in evidence.jobs.values()
        if job.state in RETRIABLE and (job.id in named or job.graph in graphs)
    }
    asked |= {job.id for root in asked for job in skipped.get(root, ())}
    for job in evidence.jobs.values():
        if job.retried_as is not None and job.id not in asked:
            yield f"job {job.id} is {job.state} and was copied, and nobody asked for it"


def _edges_that_differ(evidence: Evidence, original: StoredJob, copy: StoredJob) -> Iterator[str]:
    lineages = {parent: set(_lineage(evidence, parent)) for parent in original.edges}
    for parent, lineage in lineages.items():
        if not lineage & copy.edges.keys():
            yield f"job {copy.id} does not wait for {parent}, as its original did"
    for parent in copy.edges.keys() - set().union(*lineages.values()):
        yield f"job {copy.id} waits for {parent}, and its original for nothing like it"


def stands_for(evidence: Evidence, child: StoredJob, parent: JobId) -> JobId:
    """Return the dependency that `child` has in place of its original's `parent`."""
    return next((each for each in _lineage(evidence, parent) if each in child.edges), parent)


def _lineage(evidence: Evidence, job: JobId) -> Iterator[JobId]:
    """Yield a job, its copy, the copy's copy, and so on."""
    following: JobId | None = job
    while following is not None:
        yield following
        following = evidence.jobs[following].retried_as


def _skipped_because(evidence: Evidence) -> dict[JobId, list[StoredJob]]:
    """Return what was skipped because of each job, in turn."""
    found: dict[JobId, list[StoredJob]] = defaultdict(list)
    for job in evidence.jobs.values():
        cause = job
        while cause.state is State.SKIPPED and cause.cause is not None:
            cause = evidence.jobs[cause.cause]
        if cause is not job:
            found[cause.id].append(job)
    return found


def _failed_before(evidence: Evidence, sent: RetrySent) -> list[StoredJob]:
    return [
        job
        for job in evidence.jobs.values()
        if job.graph == sent.graph and job.state in RETRIABLE and _ended_before(job, sent.wall)
    ]


def _ended_before(job: StoredJob, wall: int) -> bool:
    return job.finished_at is not None and job.finished_at < wall
