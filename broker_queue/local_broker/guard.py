"""Processes that end with the one that started them, even if that is killed.

`guarded` wraps a command; between it and us then stands this file as a small process of its own,
which passes SIGTERM on (the third time as SIGKILL), ends the command when we are gone, and cleans
up after it. SIGUSR1 it passes on as SIGKILL, which would end the guard alone. It needs nothing but
Python's standard library.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

GRACE = 15.0
"""Seconds that the command has to stop in order once we are gone."""

LOOK_AGAIN = 0.2
"""Seconds."""


def guarded(
    command: Sequence[str], *, afterwards: Sequence[str] = (), remove: Path | None = None
) -> list[str]:
    """Return the command line that runs `command` for as long as this process lives.

    Args:
        command: what to run, in a session of its own: Ctrl-C does not reach it.
        afterwards: a command to run when it has ended.
        remove: a folder to delete if it ended because this process was killed.
    """
    plan = {
        "parent": os.getpid(),
        "command": list(command),
        "afterwards": list(afterwards),
        "remove": None if remove is None else str(remove),
    }
    return [sys.executable, "-I", __file__, json.dumps(plan)]


def _run(parent: int, command: list[str], afterwards: list[str], remove: str | None) -> int:
    child = subprocess.Popen(command, start_new_session=True)  # noqa: S603  # as we were told
    ends = iter((signal.SIGTERM, signal.SIGTERM))
    signal.signal(signal.SIGTERM, lambda *_: child.send_signal(next(ends, signal.SIGKILL)))
    signal.signal(signal.SIGUSR1, lambda *_: child.kill())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while child.poll() is None and os.getppid() == parent:
        time.sleep(LOOK_AGAIN)
    orphaned = os.getppid() != parent
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # and whatever it left behind
    code = child.wait()
    if afterwards:
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(afterwards, capture_output=True, check=False, timeout=10)  # noqa: S603
    if orphaned and remove is not None:
        shutil.rmtree(remove, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_run(**json.loads(sys.argv[1])))
