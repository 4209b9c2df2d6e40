"""What is promised of cancels, checked from outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from broker_queue.job import GraphId, JobId, State
from tests.faults.evidence import Evidence
from tests.faults.record import CancelSent
from tests.faults.works import CLAIMED


class LateStart(NamedTuple):
    """A canceled job that began to run after its cancel was confirmed."""

    job: JobId
    milliseconds: float


def cancel_was_lost(evidence: Evidence) -> Iterator[str]:
    """A job has ended when its cancel is confirmed; one that is canceled was asked to be."""
    reach = _Reach(evidence)
    asked: set[JobId] = set()
    for cancel, confirmed in evidence.record.cancels():
        reached = [evidence.jobs[job] for job in reach.of(cancel)]
        if confirmed is None:
            asked.update(job.id for job in reached)
            continue
        asked.update(job.id for job in reached if job.queued_at <= confirmed.wall)
        for job in reached:
            is_meant = job.graph == cancel.graph and job.queued_at < confirmed.wall
            if is_meant and (job.finished_at or confirmed.wall + 1) > confirmed.wall:
                yield f"job {job.id} had not ended when its cancel was confirmed; it is {job.state}"
    for job in evidence.jobs.values():
        if job.state is State.CANCELED and job.id not in asked:
            yield f"job {job.id} is canceled, and nobody asked for it"


def canceled_by_halves(evidence: Evidence) -> Iterator[str]:
    """A cancel that was not confirmed has ended all that it names, or nothing."""
    reach = _Reach(evidence)
    reached = [
        (cancel, confirmed, reach.of(cancel)) for cancel, confirmed in evidence.record.cancels()
    ]
    cancels_of: dict[JobId, int] = defaultdict(int)
    for _, _, jobs in reached:
        for job_id in jobs:
            cancels_of[job_id] += 1
    for cancel, confirmed, jobs in reached:
        if confirmed is not None:
            continue
        mine = [evidence.jobs[job_id] for job_id in jobs if cancels_of[job_id] == 1]
        mine = [job for job in mine if job.graph == cancel.graph]
        ends = [job.finished_at or 0 for job in mine if job.state is State.CANCELED]
        if not ends:
            continue
        for job in mine:
            if job.queued_at < min(ends) and (job.finished_at or min(ends) + 1) > min(ends):
                yield f"job {job.id} was not canceled together with others of {cancel.graph}"


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


def late_starts(evidence: Evidence) -> list[LateStart]:
    """Return the canceled jobs that had not started when their cancel was confirmed, and then did."""
    found = []
    for job, confirmed in _last_cancels(evidence).items():
        starts = evidence.starts.get(job)
        if starts and evidence.jobs[job].state is State.CANCELED and starts[0].at > confirmed:
            found.append(LateStart(job, (starts[0].at - confirmed) / 1e6))
    return found


def _last_cancels(evidence: Evidence) -> dict[JobId, int]:
    """Return when the last cancel of each job was confirmed."""
    reach = _Reach(evidence)
    last: dict[JobId, int] = {}
    for cancel, confirmed in evidence.record.cancels():
        if confirmed is None:
            continue
        for job in reach.of(cancel):
            if evidence.jobs[job].queued_at < confirmed.wall:
                last[job] = max(confirmed.at, last.get(job, 0))
    return last


class _Reach:
    """Which jobs a cancel may have reached."""

    def __init__(self, evidence: Evidence) -> None:
        self._children: dict[JobId, list[JobId]] = defaultdict(list)
        self._graphs: dict[GraphId | None, set[JobId]] = defaultdict(set)
        self._known = evidence.jobs.keys()
        for job in evidence.jobs.values():
            self._graphs[job.graph].add(job.id)
            for parent in job.edges:
                self._children[parent].append(job.id)

    def of(self, cancel: CancelSent) -> set[JobId]:
        """Return the jobs that a cancel names: a whole graph, or one job, or its dependents too."""
        if cancel.job is None:
            return self._graphs[cancel.graph]
        found = {cancel.job}
        border = list(found) if cancel.dependents else []
        while border:
            following = {child for each in border for child in self._children.get(each, ())}
            border = list(following - found)
            found |= following
        return found & self._known
