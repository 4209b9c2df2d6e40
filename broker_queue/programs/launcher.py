"""The worker's side of the process that starts its programs, see `parent`."""

from __future__ import annotations

import array
import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from broker_queue.amqp.ending import end
from broker_queue.errors import BrokerQueueError, JobError
from broker_queue.programs import parent
from broker_queue.programs.stdin import stdin_of
from broker_queue.programs.streams import Output, Stream

NOT_STARTED = "not_started"
"""Code of a failure."""

PAUSE = 0.005
"""Seconds until the socket may have room again."""

END_WITHIN = parent.KILL_AFTER + parent.GIVE_UP_AFTER + 1.0
"""Seconds."""


@dataclass(slots=True)
class Launched:
    """A program that was started, or is about to be.

    Attributes:
        ended: its exit code, negative for a signal; or why it came to nothing.
        gone: done when nothing of its session is left.
        pid: known once it has started.
    """

    number: int
    ended: asyncio.Future[int]
    gone: asyncio.Future[None]
    pid: int | None = None

    def fail(self, error: Exception) -> None:
        """Let it count as ended by an error."""
        if not self.ended.done():
            self.ended.set_exception(error)


class Launcher:
    """Starts a command as often as wanted, for as long as this process lives.

    Args:
        command: the program and its arguments.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._launched: dict[int, Launched] = {}
        self._last = 0
        self._ours: socket.socket
        self._process: asyncio.subprocess.Process
        self._listening: asyncio.Task[None]
        self._closing = False
        self.lost = asyncio.Event()
        """Set when the process that starts programs has died, and all programs with it."""

    async def __aenter__(self) -> Self:
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-I", "-S", parent.__file__, json.dumps(self._command)],
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        self._listening = asyncio.create_task(self._listen(), name="answers of the launcher")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        self._ours.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN):
                await self._process.wait()
        await end(self._listening)

    @asynccontextmanager
    async def launch(
        self,
        stdin: bytes,
        environment: Mapping[str, str | None],
        stdout: Output,
        stderr: Output,
    ) -> AsyncIterator[Launched]:
        """Have the program run for the length of the block; what still runs then is ended.

        Args:
            stdin: all that it reads there.
            environment: beyond our own; None removes a variable.
            stdout: what it writes.
            stderr: what it writes there.
        """
        loop = asyncio.get_running_loop()
        self._last += 1
        launched = Launched(self._last, loop.create_future(), loop.create_future())
        with Stream(stdout, launched.fail) as out, Stream(stderr, launched.fail) as err:
            request = {"start": launched.number, "environment": dict(environment)}
            with stdin_of(stdin) as source, out.writing, err.writing:
                descriptors = [each.fileno() for each in (source, out.writing, err.writing)]
                await self._send_or_wait(request, descriptors)
            self._launched[launched.number] = launched
            try:
                yield launched
                out.drain()
                err.drain()
            except BaseException:
                await self._stop(launched)
                raise

    async def _stop(self, launched: Launched) -> None:
        if launched.ended.done() and not launched.ended.cancelled():
            launched.ended.exception()  # seen
        if launched.number in self._launched:
            with suppress(ConnectionError):  # then all of them are being killed
                await self._send({"stop": launched.number})
            await launched.gone

    async def _send_or_wait(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Send; if nobody hears it any more, wait until the worker is canceled for that reason."""
        try:
            await self._send(request, descriptors)
        except ConnectionError:
            await asyncio.Event().wait()

    async def _send(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a request in one piece, which those of a few kilobytes are.

        Raises:
            ConnectionError: the process that starts programs has died.
        """
        data = json.dumps(request).encode() + b"\n"
        attached = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        while True:
            try:
                sent = self._ours.sendmsg([data], attached if descriptors else [])
            except BlockingIOError:
                await asyncio.sleep(PAUSE)
                continue
            if sent != len(data):
                raise BrokerQueueError(f"a request of {len(data)} bytes was sent in part only")
            return

    async def _listen(self) -> None:
        answers = self._process.stdout
        if answers is None:
            raise BrokerQueueError("the launcher's answers cannot be read")
        async for line in answers:
            self._take(json.loads(line))
        if not self._closing:
            for launched in self._launched.values():
                if launched.pid is not None:
                    parent.kill_session(launched.pid)
                _finish(launched.gone)
            self._launched.clear()
            self.lost.set()

    def _take(self, answer: Mapping[str, Any]) -> None:
        if "refused" in answer:
            launched = self._launched.pop(answer["refused"])
            text = f"{self._command[0]} cannot be started: {answer['why']}"
            launched.fail(JobError(text, code=NOT_STARTED))
            _finish(launched.gone)
        elif "gone" in answer:
            _finish(self._launched.pop(answer["gone"]).gone)
        elif "started" in answer:
            self._launched[answer["started"]].pid = answer["pid"]
        else:
            launched = self._launched[answer["ended"]]
            if not launched.ended.done():
                launched.ended.set_result(answer["code"])


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
