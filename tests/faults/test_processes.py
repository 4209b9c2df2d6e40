"""A process that is stopped goes on in the end, whatever becomes of the run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.faults.processes import ROOT, Process
from tests.support.waiting import until

ENDS_WITH_ITS_STDIN = ["asyncio"]
"""Python's own prompt."""

PAUSES_ONE_AND_WAITS = f"""
import asyncio, sys
from pathlib import Path
from tests.faults.processes import Process

async def main():
    process = Process("prompt", {ENDS_WITH_ITS_STDIN}, {{}}, Path(sys.argv[1]))
    await process.start()
    async with process.paused():
        print(process.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def state(pid: int) -> str:
    """Return the first letter of the state of a process; nothing if it is gone."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout[:1]


async def test_a_process_sleeps_for_the_length_of_the_block(tmp_path: Path) -> None:
    process = Process("prompt", ENDS_WITH_ITS_STDIN, {}, tmp_path / "log")
    await process.start()
    try:
        async with process.paused():

            async def sleeps() -> bool:
                return state(process.pid) == "T"

            await until(sleeps)

        async def is_awake() -> bool:
            return state(process.pid) in ("S", "R")

        await until(is_awake)
    finally:
        await process.kill()


async def test_a_process_wakes_when_the_run_that_stopped_it_is_killed(tmp_path: Path) -> None:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PAUSES_ONE_AND_WAITS, str(tmp_path / "log"),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert run.stdout is not None
    pid = int(await run.stdout.readline())
    run.kill()
    await run.wait()

    async def is_gone() -> bool:
        return state(pid) in ("", "Z")

    await until(is_gone)
