"""What is known at the end of a run, gathered from all who wrote something down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from broker_queue.job import GraphId, JobId
from tests.faults.client import Record
from tests.faults.database import StoredJob
from tests.faults.journal import Line


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

    def first_starts(self, job: JobId) -> dict[int, Line]:
        """Return the first start of each attempt."""
        found: dict[int, Line] = {}
        for line in self.starts.get(job, ()):
            found.setdefault(line.attempt, line)
        return found


class Reach:
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
