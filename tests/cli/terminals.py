"""The real command on a terminal of its own."""

from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from broker_queue.cli import COMMAND
from tests.cli.processes import CommandLine
from tests.support.waiting import PATIENCE


@dataclass
class Terminal:
    """The side of it that a person sees and types on."""

    descriptor: int
    seen: str = ""

    async def until(self, text: str | None) -> str:
        """Return all that was shown so far, once `text` stands in it (None: once it is closed)."""
        async with asyncio.timeout(PATIENCE):
            while text is None or text not in self.seen:
                part = await asyncio.to_thread(self._read)
                if not part:
                    break
                self.seen += part
        return self.seen

    def write(self, text: str) -> None:
        """Type."""
        os.write(self.descriptor, text.encode())

    def _read(self) -> str:
        try:
            return os.read(self.descriptor, 65_536).decode(errors="replace")
        except OSError:  # Linux says so when the other side is closed
            return ""


@asynccontextmanager
async def on_terminal(
    command_line: CommandLine, *arguments: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Terminal]]:
    """Run a command on a terminal for the length of the block."""
    ours, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=command_line.folder,
        env={**command_line.full_environment, "TERM": "xterm-256color", "COLUMNS": "100"},
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    try:
        yield process, Terminal(ours)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
