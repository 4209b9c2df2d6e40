"""What clients sent, and what they were told."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from broker_queue.graph import Graph
from broker_queue.job import GraphId, JobId, State
from broker_queue.protocol.messages import NewJob
from tests.faults.journal import LineFile, whole_lines


def _wall() -> int:
    return time.time_ns() // 1_000_000


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something happened to a client. It sends no request twice, except when nobody answered."""

    at: int = msgspec.field(default_factory=time.monotonic_ns)
    """Nanoseconds of the machine's monotonic clock."""
    wall: int = msgspec.field(default_factory=_wall)
    """Milliseconds since the epoch."""


class Born(Entry, frozen=True, kw_only=True, tag=True):
    """The client's process started."""


class SubmitSent(Entry, frozen=True, kw_only=True, tag=True):
    """A graph is about to be submitted."""

    graph: GraphId
    jobs: list[NewJob]


class Submitted(Entry, frozen=True, kw_only=True, tag=True):
    """That was confirmed."""

    graph: GraphId


class CancelSent(Entry, frozen=True, kw_only=True, tag=True):
    """A graph, or one of its jobs, is about to be canceled; each graph once."""

    graph: GraphId
    job: JobId | None = None
    dependents: bool = False
    """Together with what depends on it."""


class Canceled(Entry, frozen=True, kw_only=True, tag=True):
    """That was confirmed."""

    graph: GraphId


class RetrySent(Entry, frozen=True, kw_only=True, tag=True):
    """A graph, or one of its jobs, is about to be retried; each graph once."""

    graph: GraphId
    job: JobId | None = None


class Retried(Entry, frozen=True, kw_only=True, tag=True):
    """That was confirmed."""

    graph: GraphId
    copies: dict[JobId, JobId]


class Told(Entry, frozen=True, kw_only=True, tag=True):
    """How a job ended, as a client was told."""

    job: JobId
    state: State
    result: bytes | None = None


E = TypeVar("E", bound=Entry)

_ENTRY = Born | SubmitSent | Submitted | CancelSent | Canceled | RetrySent | Retried | Told


class Record:
    """Entries in the order in which they were noted.

    Args:
        entries: the first of them.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = list(entries)
        self.unanswered: list[str] = []
        """What was never confirmed, though it was asked again and again."""

    def __len__(self) -> int:
        return len(self._entries)

    def note(self, entry: Entry) -> None:
        self._entries.append(entry)

    def of(self, kind: type[E]) -> list[E]:
        """Return the entries of one kind."""
        return [entry for entry in self._entries if isinstance(entry, kind)]

    def graphs(self) -> Iterator[tuple[Graph, bool]]:
        """Yield the graphs that were sent, and whether their submit was confirmed."""
        confirmed = {entry.graph for entry in self.of(Submitted)}
        for sent in self.of(SubmitSent):
            yield Graph(id=sent.graph, jobs=sent.jobs), sent.graph in confirmed

    def cancels(self) -> Iterator[tuple[CancelSent, Canceled | None]]:
        """Yield the cancels that were sent, and their confirmations."""
        confirmed = {entry.graph: entry for entry in self.of(Canceled)}
        for sent in self.of(CancelSent):
            yield sent, confirmed.get(sent.graph)

    def retries(self) -> Iterator[tuple[RetrySent, list[Retried]]]:
        """Yield the retries that were sent, and their confirmations: some are repeated."""
        confirmed: dict[GraphId, list[Retried]] = {}
        for entry in self.of(Retried):
            confirmed.setdefault(entry.graph, []).append(entry)
        for sent in self.of(RetrySent):
            yield sent, confirmed.get(sent.graph, [])


class WrittenRecord(Record):
    """A record of a process that may be killed: each entry is with the kernel before it goes on.

    Args:
        path: of the file; entries of earlier lives are in it already.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = LineFile(path)

    def note(self, entry: Entry) -> None:
        super().note(entry)
        self._file.write(msgspec.json.encode(entry))


def read(path: Path) -> list[Entry]:
    """Return what was written, in all lives."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=_ENTRY) for line in whole_lines(path)]
