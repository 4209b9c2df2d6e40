"""Counts jobs by type and state from the events of a watch. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from broker_queue.job import State

if TYPE_CHECKING:
    from broker_queue.status import JobEvent

MAX_RUNNING = 8
"""Running jobs that are shown with their progress."""


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that runs, with what it last said of itself."""

    label: str
    since: datetime
    fraction: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far the jobs that are watched have come.

    Attributes:
        title: the graph's name, or a word for several jobs.
        counts: for each type (None for milestones) how many jobs are in which state.
        running: the jobs that run longest.
        finished: every job has ended.
    """

    title: str
    counts: Mapping[str | None, Mapping[State, int]]
    running: tuple[RunningJob, ...] = ()
    finished: bool = False

    @property
    def total(self) -> Counter[State]:
        """How many jobs are in which state, whatever their type."""
        total: Counter[State] = Counter()
        for counts in self.counts.values():
            total.update(counts)
        return total


@dataclass(slots=True)
class Tally:
    """Where every job that was heard of stands."""

    title: str
    states: dict[str, State] = field(default_factory=dict)
    counts: dict[str | None, Counter[State]] = field(default_factory=dict)
    running: dict[str, RunningJob] = field(default_factory=dict)

    def add(self, event: JobEvent) -> None:
        """Take in one event; of one job they come in order."""
        counts = self.counts.setdefault(event.type, Counter())
        before = self.states.get(event.job)
        if before is not None:
            counts[before] -= 1
        counts[event.state] += 1
        self.states[event.job] = event.state
        if event.state is State.RUNNING:
            self._note_running(event)
        else:
            self.running.pop(event.job, None)

    def snapshot(self, *, finished: bool = False) -> Snapshot:
        """Return the present numbers."""
        running = tuple(list(self.running.values())[:MAX_RUNNING])
        return Snapshot(self.title, self.counts, running, finished)

    def _note_running(self, event: JobEvent) -> None:
        known = self.running.get(event.job)
        progress = event.progress
        self.running[event.job] = RunningJob(
            label=event.name or event.type or "",
            since=known.since if known else event.at,
            fraction=progress.fraction if progress else known.fraction if known else None,
            message=(progress.message or "") if progress else known.message if known else "",
        )
