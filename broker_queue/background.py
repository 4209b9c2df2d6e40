"""Tasks that a process runs beside each other: an unexpected error of one ends all of it.

A process that goes on without one of its parts looks alive and does half of its work. One that ends
is started again by whoever supervises it, and nothing is lost by that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from broker_queue.amqp.ending import end, unless

T = TypeVar("T")

log = logging.getLogger(__name__)


class Background:
    """The parts of a process that go on until they are canceled."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a part; an error that it raises is logged at once."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def unless_one_fails(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; where a part fails first, cancel it and raise that error."""
        result = await unless(self._failed, work, lambda error: error)
        if self._failed.done():
            raise self._failed.result()
        return result

    async def close(self) -> None:
        """Cancel all parts, and return once they have ended."""
        await asyncio.gather(*map(end, self._tasks), return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        log.critical("unexpected error in %s; the process ends", task.get_name(), exc_info=error)
        if not self._failed.done():
            self._failed.set_result(error)
