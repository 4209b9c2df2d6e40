"""A scheduler and workers for the length of a block, and nothing of them afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from broker_queue import BrokerQueueError
from broker_queue.local_broker.guard import guarded

PROJECT = Path(__file__).parents[2]

PATIENCE = 5.0
"""Seconds after each request to stop; the second one tells a worker to stop at once."""

TAIL = 20
"""Lines of the log of a process that has ended."""


class ProcessEnded(BrokerQueueError):
    """A process that should go on has ended; the text has the end of its log."""


class Processes:
    """Processes that are stopped at the end of the block, the first, which is the scheduler, last.

    Args:
        folder: for their logs.
        environment: what they are told beyond our own environment.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str, **environment: str) -> None:
        """Start a command; it ends with this process, even if this one is killed."""
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                guarded(command),
                cwd=PROJECT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop them in order
            )

    def kill(self, name: str) -> None:
        """End a process and all that it started by SIGKILL; it has no time to tidy up."""
        guard = self._running.pop(name)
        guard.send_signal(signal.SIGUSR1)  # the guard passes it on as SIGKILL
        guard.wait(PATIENCE)

    def check(self) -> None:
        """Return if all of them run.

        Raises:
            ProcessEnded: one has ended.
        """
        for name, process in self._running.items():
            code = process.poll()
            if code is not None:
                raise ProcessEnded(
                    f"{name} ended with exit code {code}; the end of its log:\n{self.log_tail(name)}"
                )

    def log_tail(self, name: str) -> str:
        lines = self._log(name).read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL:])

    def stop(self) -> None:
        """Stop the first, which is the scheduler, when all others have stopped."""
        others = list(self._running.values())[1:]
        _stop(others)
        _stop(self._running.values())
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


def _stop(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    for _ in range(3):  # the third time, the guard kills what it guards
        alive = [process for process in processes if process.poll() is None]
        for process in alive:
            process.terminate()
        for process in alive:
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
