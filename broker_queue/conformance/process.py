"""The worker's own process, where the kit starts it: what it says, how it ends, starting it again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from broker_queue.amqp.ending import end
from broker_queue.errors import ConfigurationError
from broker_queue.local_broker.guard import guarded

KEPT_LINES = 200
"""Of what it prints."""

SHOWN_LINES = 15

CHUNK = 1 << 16
MAX_LINE = 2_000
"""Bytes; the rest of a line is dropped: a worker may print the args of each job."""

PAUSE = 0.5
"""Seconds before it is started again."""

LAST_WORDS = 1.0
"""Seconds to read what it has printed; something that it started may keep its output open."""

SIGNALS = 3
"""The third one kills, see `broker_queue.local_broker.guard`."""

STOP_PAUSE = 2.0
"""Seconds between them."""

MAX_STARTS = 20


class Death(NamedTuple):
    """It ended although nobody had told it to."""

    code: int
    output: list[str]
    """The last lines that it printed."""
    at: float
    """Seconds of a monotonic clock."""

    @property
    def text(self) -> str:
        """What is shown of it."""
        said = "".join(f"\n{line}" for line in self.output) or "; it printed nothing"
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
        self.ignores_stop = False
        """Whether it was found not to end when it was asked to."""

    @property
    def gave_up(self) -> bool:
        """Whether it ended too often to be started again."""
        return self._starts >= MAX_STARTS and self._process is None

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and start it no more."""
        self._stopping = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL to one that does not stop."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)  # the guard passes it on so

    async def start_again(self) -> None:
        """Start it once more, after it was told to stop and has ended."""
        self._stopping = False
        self.exit_code = None
        self._process = await self._start()
        self._task = asyncio.create_task(self._run())
        self._on_change()

    def last_lines(self) -> list[str]:
        """Return the end of what it has printed since its last start."""
        lines = list(self._lines)
        return lines if len(lines) <= SHOWN_LINES else ["…", *lines[-SHOWN_LINES:]]

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
        for _ in range(SIGNALS):
            self.ask_to_stop()
            if self._task is None or (await asyncio.wait([self._task], timeout=STOP_PAUSE))[0]:
                break
        if self._task is not None:
            await end(self._task)

    async def _start(self) -> asyncio.subprocess.Process:
        self._starts += 1
        self._lines.clear()
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
            listening = asyncio.create_task(self._listen(self._process))
            try:
                code = await self._process.wait()
                await asyncio.wait([listening], timeout=LAST_WORDS)
            finally:
                await end(listening)
            self._process = None
            if self._stopping:
                self.exit_code = code
            else:
                self.deaths.append(Death(code, self.last_lines(), time.monotonic()))
            self._on_change()
            if self._stopping or self._starts >= MAX_STARTS:
                return
            await asyncio.sleep(PAUSE)
            if not self._stopping:
                self._process = await self._start()
                self._on_change()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise ConfigurationError("the worker's output cannot be read")
        rest = b""
        while data := await process.stdout.read(CHUNK):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(line)
            rest = rest[:MAX_LINE]
        if rest:
            self._take(rest)

    def _take(self, line: bytes) -> None:
        text = line[:MAX_LINE].decode(errors="replace").rstrip()
        self._lines.append(text)
        self._echo(text)
