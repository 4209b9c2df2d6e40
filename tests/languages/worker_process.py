"""An example worker as the process that it is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from types import TracebackType

from tests.support.waiting import PATIENCE, until


class WorkerProcess:
    """Runs for the length of the block; killed at its end if it has not been stopped.

    Args:
        command: how it is started.
        url: of the broker.
        namespace: of the scheduler.
        environment: more variables.
    """

    def __init__(
        self, command: Sequence[str], url: str, namespace: str, **environment: str
    ) -> None:
        self._command = command
        self._environment = {
            **os.environ,
            "BROKER_QUEUE_URL": url,
            "BROKER_QUEUE_NAMESPACE": namespace,
            **environment,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._log: list[str] = []

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return "".join(self._log)

    def terminate(self) -> None:
        """Ask it to stop, by SIGTERM."""
        assert self._process is not None
        self._process.terminate()

    async def ended(self, patience: float = PATIENCE) -> int:
        """Return its exit code once it has ended."""
        assert self._process is not None
        async with asyncio.timeout(patience):
            return await self._process.wait()

    async def says(self, text: str) -> None:
        """Return once it has printed `text`."""

        async def is_said() -> bool:
            return text in self.log

        await until(is_said)

    async def __aenter__(self) -> WorkerProcess:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._reading is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading
        if error is not None:
            print(self.log)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._log.append(line.decode(errors="replace"))
