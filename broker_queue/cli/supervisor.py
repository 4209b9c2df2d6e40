"""The parent of several processes of one worker: starts them, and again if they die.

It imports nothing of the user's. Each child is this command line once more in a fresh interpreter;
`supervised` says how the two talk.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress

from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.supervised import VARIABLE

log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds before a process starts again: doubled each time, so that a job or a machine that kills
all of them does not keep them importing."""

STEADY = 60.0
"""Seconds that a process must have lived for the next pause to be the first again."""


class Supervisor:
    """Keeps `count` processes running until a signal, or until one says that it can never work."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._stopping = asyncio.Event()
        self._asked = 0
        self._pipes: set[int] = set()
        self._starting = asyncio.Lock()
        self._code = ExitCode.OK

    async def run(self) -> ExitCode:
        """Return what the processes made of it once all have ended.

        OK where each stopped in order, as it was asked to; else the code of the first that did not.
        """
        loop = asyncio.get_running_loop()
        for request in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(request, self._stop)
        log.info("%d processes of the worker start; their parent is %d", self._count, os.getpid())
        async with asyncio.TaskGroup() as group:
            for number in range(1, self._count + 1):
                group.create_task(self._keep(number))
        return self._code

    def _stop(self) -> None:
        self._asked += 1
        self._stopping.set()
        for pipe in self._pipes:
            _ask(pipe)

    async def _keep(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            begun = loop.time()
            try:
                pid, code = await self._live(number)
                what = f"process {number} (pid {pid}) {_ending(code)}"
            except OSError as error:  # no memory, or too many processes: it may pass
                code, what = 1, f"process {number} could not be started: {error}"
            if code == ExitCode.INVALID:
                self._refuse(what)
            elif self._stopping.is_set():
                self._note_end(code, what)
            else:
                if loop.time() - begun >= STEADY:
                    pause = FIRST_PAUSE
                log.warning("%s; it starts again in %.0f s", what, pause)
                await self._rest(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _live(self, number: int) -> tuple[int, int]:
        """Start a process and return its pid and exit code once it has ended.

        Raises:
            OSError: it cannot be started.
        """
        pipe, process = await self._start(number)
        self._pipes.add(pipe)
        try:
            for _ in range(self._asked):  # what it missed while it was started
                _ask(pipe)
            return process.pid, await process.wait()
        finally:
            self._pipes.discard(pipe)
            os.close(pipe)

    async def _start(self, number: int) -> tuple[int, asyncio.subprocess.Process]:
        reading, writing = os.pipe()
        # Only pass_fds reach a child: none holds a writing end, or it would miss its parent's death.
        async with self._starting:  # one at a time, for the mask
            # Ctrl-C reaches the children too, and would be a KeyboardInterrupt amid their imports.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *sys.orig_argv[1:],
                    env={**os.environ, VARIABLE: f"{number}:{reading}"},
                    pass_fds=(reading,),
                )
            except BaseException:
                os.close(writing)
                raise
            finally:
                os.close(reading)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return writing, process

    def _refuse(self, what: str) -> None:
        if not self._code:
            log.error("%s: it can never work, so all end", what)
            self._code = ExitCode.INVALID
        if not self._stopping.is_set():
            self._stop()

    def _note_end(self, code: int, what: str) -> None:
        if code in (0, -signal.SIGTERM):  # the latter if all were signaled while it started
            return
        log.warning("%s instead of stopping in order", what)
        if not self._code:
            self._code = ExitCode(code) if code in set(ExitCode) else ExitCode.INTERNAL

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def _ask(pipe: int) -> None:
    with suppress(BrokenPipeError):  # it has just ended
        os.write(pipe, b".")


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"
