"""The real command as a process of its own, for the tests of the whole system."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker_queue.cli import COMMAND
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines on standard output."""
        return self.out.splitlines()


@dataclass
class CommandLine:
    """Runs ``broker-queue`` in a folder, against one broker and namespace."""

    url: str
    namespace: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def full_environment(self) -> dict[str, str]:
        """The environment of the command; the width of this terminal is none of its business."""
        return {
            **{name: value for name, value in os.environ.items() if name != "COLUMNS"},
            "BROKER_QUEUE_URL": self.url,
            "BROKER_QUEUE_NAMESPACE": self.namespace,
            "XDG_STATE_HOME": str(self.folder / "state"),
            "BROKER_QUEUE_TIMEOUT": str(ANSWER_TIMEOUT),
            "PYTHONUNBUFFERED": "1",
            **self.environment,
        }

    async def run(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run a command to its end."""
        process = await self.start(*arguments)
        return await finish(process, stdin)

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command."""
        return await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            cwd=self.folder,
            env=self.full_environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command for the length of the block; if it still runs, interrupt it as Ctrl-C does."""
        process = await self.start(*arguments)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
                await finish(process)


async def finish(process: asyncio.subprocess.Process, stdin: str | None = None) -> Result:
    """Wait for the end of a command; one that takes too long is killed, and the test fails."""
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(None if stdin is None else stdin.encode())
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"the command does not end:\n{out.decode()}\n{err.decode()}") from None
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


async def line_of(stream: asyncio.StreamReader | None) -> str:
    """Return the next line of a running command; fail if it has ended without one."""
    assert stream is not None
    async with asyncio.timeout(PATIENCE):
        line = await stream.readline()
    assert line, "the command says nothing more"
    return line.decode().rstrip("\n")
