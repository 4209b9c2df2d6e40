"""What processes did, written down by themselves.

Workers write one line for each start and end of a run, schedulers one for each transaction.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from broker_queue.job import JobId
from tests.faults.plan import Victim


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run started, or ended; a run whose worker was killed has no end."""

    at: int
    """Nanoseconds of the machine's monotonic clock, which all its processes share."""
    wall: int
    """Milliseconds since the epoch, as the scheduler counts."""
    run: str
    job: JobId
    attempt: int
    handover: int
    token: str
    """A hash of it."""
    worker: str
    channel: str
    event: str
    """``start``, ``finished``, ``failed``, ``stopped``, or ``overran``: nobody stopped it in time."""
    result: Any = None
    inputs: dict[str, Any] = {}
    """Results of other jobs, as they were put into the args."""
    grown: list[JobId] = []

    @property
    def victim(self) -> Victim:
        """The process; each of its lives is a worker with another name."""
        return Victim(self.worker.rpartition(" ")[0])


class LineFile:
    """Appends lines to a file; each is with the kernel before its process goes on.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(self._file, b"\n")  # a line that a kill cut off stands alone

    def write(self, line: bytes) -> None:
        os.write(self._file, line + b"\n")


def whole_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines that no kill has cut off."""
    return (line for line in path.read_bytes().splitlines() if line and _is_whole(line))


class Journal:
    """What one worker does.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def write(
        self, event: str, *, run: str, job: JobId, attempt: int, token: str, **more: Any
    ) -> None:
        """Write one line."""
        line = Line(
            at=time.monotonic_ns(),
            wall=time.time_ns() // 1_000_000,
            event=event,
            run=run,
            job=job,
            attempt=attempt,
            handover=int(token.split(".")[1]),  # opaque to workers, but not to who tests them
            token=sha256(token.encode()).hexdigest()[:16],
            **more,
        )
        self._file.write(msgspec.json.encode(line))


def read(paths: Iterable[Path]) -> list[Line]:
    """Return the lines of all journals, in the order in which they happened."""
    texts = (text for path in paths for text in whole_lines(path))
    lines = [msgspec.json.decode(text, type=Line) for text in texts]
    return sorted(lines, key=lambda line: line.at)


class EpochJournal:
    """The epoch of each transaction, in a file that all schedulers share.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def write(self, epoch: int) -> None:
        """Write one line; within the transaction, so that lines are in the order of transactions."""
        self._file.write(b"%d" % epoch)


def read_epochs(path: Path) -> list[int]:
    """Return the epochs of all transactions, in their order."""
    return [int(line) for line in whole_lines(path)]


def _is_whole(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
