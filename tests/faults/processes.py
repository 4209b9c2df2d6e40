"""What is killed: the scheduler and the workers as processes, and a private broker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from broker_queue.failpoints import VARIABLE
from broker_queue.local_broker.node import PrivateNode
from tests.faults.plan import Kill
from tests.support.standstill import bring_to_a_standstill
from tests.support.waiting import TIMEOUT_FACTOR

ROOT = Path(__file__).parents[2]

ANYWHERE = "wherever it was"
STOP_TIMEOUT = 30.0 * TIMEOUT_FACTOR

WAKE = 'read _; kill -CONT "$0"'
"""For a shell: wakes a process as soon as its own stdin ends."""


class EndedByItself(Exception):
    """A process ended though nobody killed it."""


class Process:
    """A scheduler or worker that is killed and started again, many times.

    Args:
        name: for people.
        command: module and arguments, for Python.
        environment: besides our own.
        log: what it says, in all of its lives.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self._name = name
        self._command = command
        self._environment = os.environ | dict(environment)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of its present life, or of its last."""
        return self._running().pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, kill: Kill | None = None) -> None:
        """Begin a life that ends as planned; without a plan it goes on."""
        environment = dict(self._environment)
        if kill is not None and kill.point is not None:
            environment[VARIABLE] = f"{kill.point}:{kill.count}"
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self._command,
                cwd=ROOT, env=environment, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log,
            )  # fmt: skip

    async def die(self, kill: Kill) -> str:
        """Return once this life has ended as planned, and where it did.

        Raises:
            EndedByItself: it ended in another way.
        """
        process = self._running()
        try:
            async with asyncio.timeout(kill.after * TIMEOUT_FACTOR):
                code = await process.wait()
            where = kill.place
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            code = await process.wait()
            where = ANYWHERE
        if code != -signal.SIGKILL or not where:
            raise EndedByItself(self._ended(code))
        return where

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Stop it by SIGSTOP, and let it go on at the end.

        That is left to another process: if this one is killed, nobody stays behind asleep.
        """
        process = self._running()
        waker = await asyncio.create_subprocess_exec(
            "sh", "-c", WAKE, str(process.pid),
            stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            await bring_to_a_standstill(process.pid)
            yield
        finally:
            assert waker.stdin is not None
            waker.stdin.close()
            await waker.wait()

    async def stop(self) -> None:
        """Stop it in order.

        Raises:
            EndedByItself: it did not stop as it should.
        """
        process = self._running()
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                code = await process.wait()
        except TimeoutError:
            await self.kill()
            raise EndedByItself(f"{self._name} does not stop; see {self._log}") from None
        if code:
            raise EndedByItself(self._ended(code))

    async def kill(self) -> None:
        """End it, if it runs."""
        if self.is_alive:
            process = self._running()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    def _ended(self, code: int) -> str:
        last = self._log.read_text(errors="replace").splitlines()[-3:]
        return f"{self._name} ended with code {code}: {' | '.join(last)}"


class Broker:
    """A private broker that is killed and started again.

    Args:
        node: it runs.
    """

    def __init__(self, node: PrivateNode) -> None:
        self._node = node
        self.is_up = asyncio.Event()
        self.is_up.set()

    async def crash(self) -> None:
        """Kill it, and return once it answers again."""
        self.is_up.clear()
        await asyncio.to_thread(self._node.kill)
        await asyncio.to_thread(self._node.start)
        self.is_up.set()
