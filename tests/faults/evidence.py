"""What is known at the end of a run, gathered from all who wrote something down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from broker_queue.job import JobId
from tests.faults.database import StoredJob
from tests.faults.journal import Line
from tests.faults.record import Record


@dataclass(slots=True)
class Evidence:
    """What is known at the end.

    Attributes:
        jobs: from the database.
        lines: of all journals, in the order in which they happened.
        record: what clients sent and were told.
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
