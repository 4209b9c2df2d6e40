"""The scheduler's log: JSON for programs, text on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from pathlib import Path

from tests.support.waiting import PATIENCE


def environment(broker_url: str, namespace: str, database: Path) -> dict[str, str]:
    given = {"URL": broker_url, "NAMESPACE": namespace, "DATABASE": str(database)}
    return os.environ | {f"BROKER_QUEUE_{name}": value for name, value in given.items()}


async def lines_until_ready(reader: asyncio.StreamReader) -> list[str]:
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while not any("ready: takes requests" in line for line in lines):
            line = await reader.readline()
            assert line, lines
            lines.append(line.decode())
    return lines


async def test_on_a_pipe_every_line_is_an_object_with_time_level_and_message(
    broker_url: str, namespace: str, database: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scheduler",
        env=environment(broker_url, namespace, database), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    lines = await lines_until_ready(process.stderr)
    process.terminate()
    lines += [line.decode() async for line in process.stderr]
    assert await process.wait() == 0
    entries = [json.loads(line) for line in lines]
    assert all(entry.keys() >= {"time", "level", "logger", "message"} for entry in entries)
    assert entries[-1]["message"] == "stopped; nothing is lost"
    assert {entry["level"] for entry in entries} == {"info"}


async def test_on_a_terminal_the_lines_are_for_people(
    broker_url: str, namespace: str, database: Path
) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scheduler",
        env=environment(broker_url, namespace, database), stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_read_pipe(lambda: protocol, terminal)
        lines = await lines_until_ready(reader)
        process.terminate()
        assert await process.wait() == 0
        transport.close()
    assert any(" INFO    active on sqlite " in line for line in lines)
    assert not any(line.startswith("{") for line in lines)
