"""A command in a process of its own that starts again when the code changes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from watchfiles import PythonFilter, watch

from broker_queue.cli import COMMAND
from broker_queue.local_broker.guard import guarded

RELOAD_GRACE = 35.0
"""Seconds that a worker has to stop before it is killed: its grace time and a little."""

HURRY = 5.0
"""Seconds that it has once it was told a second time."""


def run_with_reload(arguments: Sequence[str], folder: Path) -> None:
    """Run ``broker-queue ARGUMENTS`` until a signal; again when a Python file in `folder` changes.

    A command that ended by itself, such as one whose module cannot be imported, starts again with
    the next change.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    command = [*COMMAND, *arguments]
    process = _start(command)
    try:
        for changes in watch(folder, watch_filter=PythonFilter(), raise_interrupt=True):
            names = ", ".join(sorted({Path(path).name for _, path in changes}))
            print(f"{names} changed; the worker starts again", file=sys.stderr)
            _stop(process)
            process = _start(command)
    except KeyboardInterrupt:
        pass
    finally:
        _stop(process)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(guarded(command))  # noqa: S603  # ours


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let the command stop in order; an interrupt meanwhile hurries it, a second one kills it."""
    for patience in (RELOAD_GRACE, HURRY, None):
        process.terminate()
        with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            process.wait(patience)
            return


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
