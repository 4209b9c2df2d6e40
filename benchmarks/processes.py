"""Processes of a contender, which end with ours, and the processor time that they took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

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

    def kill(self) -> None:
        """Kill them, so that they can do nothing more; what guards each of them ends by itself."""
        guards = self.pids
        for pid in set(_tree(guards, _stats())) - set(guards):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._running:
            process.wait(PATIENCE)
        self._running.clear()


def processor_seconds(pids: Iterable[int]) -> float:
    """Return the processor time of processes and all that they started; 0 where no one tells."""
    stats = _stats()
    return sum(sum(map(int, stats[pid][11:15])) for pid in _tree(pids, stats)) / TICKS


def running_seconds(pids: Iterable[int]) -> float:
    """Return the same in nanoseconds' steps, where the kernel tells, of threads that still run.

    For a few hundred jobs, ticks of ten milliseconds would be too coarse.
    """
    found = [path for pid in _tree(pids, _stats()) for path in Path(f"/proc/{pid}/task").glob("*")]
    total = 0
    for thread in found:
        with suppress(OSError):  # it ended meanwhile
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9 if total else processor_seconds(pids)


class Memory(NamedTuple):
    """Resident memory of a process in megabytes."""

    now: float
    peak: float


def memory(pids: Iterable[int]) -> Memory:
    """Return the memory of the largest of these processes and all that they started."""
    found = [_memory(pid) for pid in _tree(pids, _stats())]
    return max(found, default=Memory(0.0, 0.0))


def _memory(pid: int) -> Memory:
    lines: list[str] = []
    with suppress(OSError):  # it ended meanwhile
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    sizes = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    now, peak = (float(sizes.get(name, ["0"])[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return Memory(now, peak)


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
