"""One of several processes of a worker: how it hears its parent, and that the parent is gone.

The parent asks through a pipe and sends no signals: service managers and terminals signal parent
and children alike, and a signal that was passed on too would be a second one, which ends the grace
time. A byte in the pipe is as one signal to the parent; its end says that the parent is gone.

A pipe rather than PR_SET_PDEATHSIG: that is Linux's alone, comes when the *thread* that forked ends,
and never if the parent died before the child could ask for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from broker_queue.event_loop import loop_factory
from broker_queue.moments import to_seconds

if TYPE_CHECKING:
    from broker_queue.worker import Worker

log = logging.getLogger(__name__)

VARIABLE = "BROKER_QUEUE_PROCESS"
"""In the environment of a child: its number, and its end of the pipe."""

LAST_RESORT = 10.0
"""Seconds after its grace time in which an orphan must have ended; nobody else would kill it."""


class Supervised:
    """This process, as a child.

    Args:
        number: from 1; the same again when a process that died is replaced.
        pipe: reading end, a file descriptor.
    """

    def __init__(self, number: int, pipe: int) -> None:
        self.number = number
        self._pipe = pipe
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None
        self._asked = 0
        self._signals = 0
        self._stops = 0

    def listen(self) -> None:
        """Hear the parent from now on; until `run` a stop ends this process at once."""
        threading.Thread(target=self._listen, name="parent", daemon=True).start()

    def run(self, worker: Worker) -> None:
        """Run a worker as `Worker.run_forever` does, and stop it when the parent asks, or is gone."""
        worker.name = f"{worker.name}-{self.number}"
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._run(worker))

    async def _run(self, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        with self._lock:
            self._loop, self._worker = loop, worker
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see the supervisor
        await worker.run()

    def _listen(self) -> None:
        while os.read(self._pipe, 1):
            self._tell()
        log.warning("the parent process is gone; this one stops")
        self._tell(at_most=1)
        grace = 0.0 if self._worker is None else to_seconds(self._worker.grace) or 0.0
        time.sleep(grace + LAST_RESORT)
        os.kill(os.getpid(), signal.SIGKILL)  # code of the user's blocks the event loop, or the end

    def _tell(self, at_most: int | None = None) -> None:
        with self._lock:
            if self._loop is None:
                os._exit(0)  # it has not begun: its module may be importing for long
            with suppress(RuntimeError):  # it has ended, and is closed
                self._loop.call_soon_threadsafe(self._on_request, at_most)

    def _on_request(self, at_most: int | None) -> None:
        if at_most is None or self._asked < at_most:
            self._asked += 1
        self._stop()

    def _on_signal(self) -> None:
        self._signals += 1
        self._stop()

    def _stop(self) -> None:
        """Stop as often as it was meant: a signal to the whole group comes on both ways."""
        while self._worker is not None and self._stops < max(self._asked, self._signals):
            self._stops += 1
            self._worker.stop()


def from_environment() -> Supervised | None:
    """Return this process if it is such a child, for whose own children it says so no more."""
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        return None
    number, pipe = map(int, text.split(":"))
    os.set_inheritable(pipe, False)
    return Supervised(number, pipe)
