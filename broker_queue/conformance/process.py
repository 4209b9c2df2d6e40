"""The worker's own process, where the kit starts it: what it says, how it ends, starting it again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from broker_queue.amqp.ending import end
from broker_queue.errors import ConfigurationError
from broker_queue.local_broker.guard import guarded

KEPT_LINES = 200
"""Of what it prints."""

SHOWN_LINES = 5

PAUSE = 0.5
"""Seconds before it is started again."""

MAX_STARTS = 20


class Death(NamedTuple):
    """It ended although nobody had told it to."""

    code: int
    output: list[str]
    """The last lines that it printed."""

    @property
    def text(self) -> str:
        """What is shown of it."""
        said = "".join(f"\n{line}" for line in self.output)
        return f"the worker ended by itself, with exit code {self.code}{said}"


class WorkerProcess:
    """Runs a command until told to stop; one that ends by itself is started again.

    Args:
        command: to run.
        environment: what it is told beyond our own environment.
        on_change: called when it has started or ended.
        echo: called with each line that it prints.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_change: Callable[[], None],
        echo: Callable[[str], None],
    ) -> None:
        self._command = command
        self._environment = environment
        self._on_change = on_change
        self._echo = echo
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._starts = 0
        self._stopping = False
        self.deaths: list[Death] = []
        self.exit_code: int | None = None
        """How it ended after `ask_to_stop`."""

    @property
    def gave_up(self) -> bool:
        """Whether it ended too often to be started again."""
        return self._starts >= MAX_STARTS and self._process is None

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and start it no more."""
        self._stopping = True
        if self._process is not None:
            self._process.terminate()

    def last_lines(self) -> list[str]:
        """Return the end of what it printed."""
        return list(self._lines)[-SHOWN_LINES:]

    async def __aenter__(self) -> Self:
        self._process = await self._start()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping = True
        process = self._process
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGTERM):  # the third one kills
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 2.0)
                    break
        if self._task is not None:
            await end(self._task)

    async def _start(self) -> asyncio.subprocess.Process:
        self._starts += 1
        return await asyncio.create_subprocess_exec(
            *guarded(self._command),
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    async def _run(self) -> None:
        while self._process is not None:
            await self._listen(self._process)
            code = await self._process.wait()
            self._process = None
            if self._stopping:
                self.exit_code = code
            else:
                self.deaths.append(Death(code, self.last_lines()))
            self._on_change()
            if self._stopping or self._starts >= MAX_STARTS:
                return
            await asyncio.sleep(PAUSE)
            if not self._stopping:
                self._process = await self._start()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise ConfigurationError("the worker's output cannot be read")
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._lines.append(text)
            self._echo(text)
