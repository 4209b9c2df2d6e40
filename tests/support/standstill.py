"""Stopping a process by SIGSTOP, so that it does nothing any more."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import until

STANDS_STILL = frozenset("TtZX")
"""States of a thread, of proc(5): stopped, traced, a zombie, dead."""


async def bring_to_a_standstill(pid: int) -> None:
    """Send SIGSTOP to a process, and return when all its threads have heeded that.

    One that was in the kernel may still come out of it with a lock that it asked for before.
    """
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)

    async def stands_still() -> bool:
        return all(state in STANDS_STILL for state in _states(pid))

    await until(stands_still)


def _states(pid: int) -> list[str]:
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append((thread / "stat").read_text().rpartition(") ")[2][0])
    return found
