"""Processes of a contender, which end with ours, and the processor time that they took."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from broker_queue.local_broker.guard import guarded

ROOT = Path(__file__).parents[1]

PATIENCE = 5.0
"""Seconds after each request to stop; at the third, the guard kills what it guards."""

TICKS = os.sysconf("SC_CLK_TCK")


class Processes:
    """Processes that are started together and stopped together.

    Args:
        folder: for what they say.
        environment: beyond our own.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._running]

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a command; it ends with this process, even if this one is killed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        binaries = str(Path(sys.executable).parent)
        with self.log(name).open("ab") as log:
            self._running.append(
                subprocess.Popen(
                    guarded(command),
                    cwd=ROOT,
                    env=os.environ
                    | {"PATH": f"{binaries}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
                    | dict(self._environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # what ends this process's group leaves the guard alone
                )
            )

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def stop(self) -> None:
        """Stop them, the last first."""
        for process in reversed(self._running):
            _stop(process)
        self._running.clear()


def processor_seconds(pids: Iterable[int]) -> float:
    """Return the processor time of processes and all that they started; 0 where no one tells."""
    stats = _stats()
    return sum(sum(map(int, stats[pid][11:15])) for pid in _tree(pids, stats)) / TICKS


def resident_mebibytes(pids: Iterable[int]) -> float:
    """Return the memory of the largest of these processes and all that they started."""
    stats = _stats()
    pages = [int(stats[pid][21]) for pid in _tree(pids, stats)]
    return max(pages, default=0) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _stats() -> dict[int, list[str]]:
    """Return the fields of proc(5), from the third on, of every process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            found[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
    return found


def _tree(pids: Iterable[int], stats: Mapping[int, Sequence[str]]) -> list[int]:
    """Return these processes and all that they started, as far as they still run."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, fields in stats.items():
        children[int(fields[1])].append(pid)
    found, left = [], list(pids)
    while left:
        pid = left.pop()
        if pid in stats:
            found.append(pid)
        left += children[pid]
    return found


def _stop(process: subprocess.Popen[bytes]) -> None:
    for _ in range(3):
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
