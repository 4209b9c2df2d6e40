"""Log lines of the scheduler: JSON for programs, text on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from tests.support.schedulers import SchedulerProcess, wait_until_it_answers
from tests.support.waiting import PATIENCE


async def test_every_line_on_a_pipe_is_json(
    broker_url: str, namespace: str, database: Path
) -> None:
    scheduler = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
    await scheduler.start()
    code, log = await scheduler.terminate()
    lines = [json.loads(line) for line in log.splitlines()]
    assert code == 0
    for line in lines:
        assert line.keys() == {"time", "level", "logger", "message"}
        assert line["level"] == "info"
        assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
    assert lines[-1]["message"] == "stopped; nothing is lost"


async def test_a_terminal_shows_text(broker_url: str, namespace: str, database: Path) -> None:
    terminal, its_side = os.openpty()
    options = {"--url": broker_url, "--namespace": namespace, "--database": str(database)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scheduler",
        *(part for option in options.items() for part in option),
        stderr=its_side,
    )
    os.close(its_side)
    reading = asyncio.create_task(asyncio.to_thread(read_all, terminal))
    await wait_until_it_answers(broker_url, namespace)
    process.terminate()
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 0
        lines = (await reading).splitlines()
    for line in lines:
        assert re.fullmatch(r"\d\d:\d\d:\d\d INFO    [^{].*", line)
    assert lines[-1].endswith("stopped; nothing is lost")


def read_all(terminal: int) -> str:
    """Return what was shown on a terminal until the other side closed it."""
    found = b""
    with suppress(OSError):  # how Linux says that the other side is closed
        while piece := os.read(terminal, 4_096):
            found += piece
    os.close(terminal)
    return found.decode()
