"""Acknowledgements of one channel: those of one turn of the event loop go out as one piece.

The broker numbers what it delivers on a channel from 1 on (AMQP 0-9-1, delivery-tag). So whatever
lies before the first message that is not settled yet is acknowledged by one frame, with `multiple`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from broker_queue.amqp.framing import acknowledgement
from broker_queue.errors import Unavailable


class Acknowledgements:
    """Collects acknowledgements and writes them.

    Args:
        channel: its number.
        write: hands frames to the socket; raises `Unavailable`.
    """

    def __init__(self, channel: int, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._channel = channel
        self._write = write
        self._waiting: list[int] = []
        self._settled: set[int] = set()
        """Tags that were settled, from `_first` on."""
        self._first = 1
        """Lowest tag that is not settled."""
        self._written: asyncio.Future[None] | None = None
        self._writing: set[asyncio.Task[None]] = set()

    def skip(self, tag: int) -> None:
        """Count a message as settled that is rejected."""
        if tag >= self._first:
            self._settled.add(tag)

    async def add(self, tag: int) -> None:
        """Return once the acknowledgement of a message is written.

        Raises:
            Unavailable: it was not.
        """
        self._waiting.append(tag)
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._flush(self._written))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        await asyncio.shield(self._written)

    async def _flush(self, written: asyncio.Future[None]) -> None:
        """Write what has come until the event loop turns to this."""
        frames = self._take()
        self._written = None
        try:
            await self._write(frames)
        except Unavailable as error:
            written.set_exception(error)
            written.exception()  # seen, though nobody may wait any more
        else:
            written.set_result(None)

    def _take(self) -> bytes:
        waiting, self._waiting = self._waiting, []
        self._settled.update(tag for tag in waiting if tag >= self._first)
        while self._first in self._settled:
            self._settled.remove(self._first)
            self._first += 1
        passed = [tag for tag in waiting if tag < self._first]
        frames = [acknowledgement(self._channel, tag) for tag in waiting if tag >= self._first]
        if passed:
            frames.append(acknowledgement(self._channel, max(passed), multiple=True))
        return b"".join(frames)
