"""Demos as people run them: processes that show their work and leave nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.waiting import TIMEOUT_FACTOR

PROJECT = Path(__file__).parents[2]
PATIENCE = 90.0 * TIMEOUT_FACTOR
"""Seconds for a whole demo on a loaded machine."""


@asynccontextmanager
async def demo(
    module: str, *options: str, url: str, temporary: Path, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a demo with a folder of its own for temporary files."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *options),
        cwd=PROJECT,
        env={**os.environ, "BROKER_QUEUE_URL": url, "TMPDIR": str(temporary), **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def finish(process: asyncio.subprocess.Process) -> str:
    out, _ = await process.communicate()
    return out.decode()


async def read_until(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stdout is not None
    found = ""
    while text not in found:
        line = (await process.stdout.readline()).decode()
        assert line, f"the demo ended without {text!r}:\n{found}"
        found += line
    return found


async def assert_it_is_interrupted(process: asyncio.subprocess.Process) -> None:
    """Send what Ctrl-C sends, and check that the demo says so and ends."""
    process.send_signal(signal.SIGINT)
    text = await finish(process)
    assert process.returncode == 130, text
    assert "Interrupted" in text
    assert "Traceback" not in text


def assert_nothing_is_left(temporary: Path) -> None:
    """Check that no process has that folder for temporary files, and that nothing is in it."""
    listed = subprocess.run(
        ["ps", "eww", "-eo", "args"], capture_output=True, text=True, check=True
    )
    assert [line for line in listed.stdout.splitlines() if f"TMPDIR={temporary}" in line] == []
    assert list(temporary.iterdir()) == []
