"""What a worker takes from its queues: no more than it has slots for, or not for long.

The broker bounds what each consumer holds, and a worker has one for each queue. So more may come
than there are slots: because it takes several types, or because jobs that are held by lease are
acknowledged and no longer count. What has waited too long is handed back by the worker, which stops
consuming until a slot is free; who crashes meanwhile takes little with him.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from broker_queue.amqp.channel import Channel, Delivery
from broker_queue.amqp.ending import ended
from broker_queue.amqp.failures import as_unavailable
from broker_queue.background import Background
from broker_queue.errors import Unavailable

log = logging.getLogger(__name__)

LONGEST_WAIT = 5.0
"""Seconds that a delivered job waits for a slot before it is handed back."""


class Intake:
    """Slots for jobs, and consumers that hold as many messages as there are slots free.

    Args:
        slots: jobs that run at once.
        on_delivery: as for `Channel.consume`.
        background: of the worker.
    """

    def __init__(
        self, slots: int, on_delivery: Callable[[Delivery], None], background: Background
    ) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._all = self._free = slots
        self._on_delivery = on_delivery
        self._background = background
        self._channel: Channel | None = None
        self._queues: Sequence[str] = ()
        self._consumers: list[str] = []
        self._prefetch = 0
        self._turn = asyncio.Lock()
        self._widening: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._is_quiet = False
        """Nothing was delivered since `check` looked."""

    async def open(self, channel: Channel, queues: Sequence[str]) -> None:
        """Consume on the channel of a new session; what runs already is delivered once more.

        Raises:
            Unavailable: the connection was lost, or a queue is not there.
        """
        async with self._turn:
            self._channel, self._queues = channel, queues
            self._consumers, self._prefetch = [], 0
        await self._consume(lambda: self._all)

    @property
    def has_free(self) -> bool:
        """Whether `acquire` returns at once."""
        return not self._slots.locked()

    async def acquire(self) -> None:
        """Take a slot as soon as one is free, in turn."""
        await self._slots.acquire()
        self._free -= 1

    def release(self) -> None:
        """Give a slot back, and consume again if nothing else waits for it."""
        self._free += 1
        self._slots.release()
        if self._prefetch < self._free and (self._widening is None or self._widening.done()):
            self._widening = self._background.start(self._widen(), "consuming more")

    async def narrow(self) -> None:
        """Take no more than there are slots free: nothing, until one is given back.

        For a message that waits in vain, and for one that no longer counts where it was delivered.
        """
        if self._prefetch > self._free:
            await self._consume(lambda: self._free)

    async def check(self) -> None:
        """Consume anew where jobs wait, slots are free, and nothing has come since the last look.

        RabbitMQ 3.10 was seen to delete a queue and not to tell who consumed it; such a consumer
        would wait for ever.
        """
        channel, was_quiet = self._channel, self._is_quiet
        self._is_quiet = True
        if channel is None or not (was_quiet and self._consumers):
            return
        try:
            for queue in self._queues:
                async with as_unavailable(f"the broker does not say how queue {queue!r} is"):
                    depth = await channel.look(queue)
                if depth.messages and self._is_quiet and self._free:
                    log.warning("jobs wait in %s and none is delivered: consuming anew", queue)
                    await self._consume(lambda: self._free)
                    return
        except Unavailable as error:
            channel.session.fail(f"the worker could not look at its queues: {error}")

    async def stop(self) -> None:
        """Consume no more; what is held stays so."""
        self._is_stopped = True
        await self._consume(lambda: 0)

    async def _widen(self) -> None:
        while self._prefetch < self._free:
            channel = self._channel
            if channel is None or self._is_stopped or channel.session.lost.done():
                return
            try:
                await self._consume(lambda: self._free)
            except Unavailable as error:
                channel.session.fail(f"the worker could not go on consuming: {error}")
                return

    async def _consume(self, wanted: Callable[[], int]) -> None:
        """Change what is consumed; wholly, even if whoever wants it is canceled meanwhile.

        Args:
            wanted: tells the prefetch, when it is this one's turn.
        """
        await ended(asyncio.create_task(self._consume_in_turn(wanted)))

    async def _consume_in_turn(self, wanted: Callable[[], int]) -> None:
        async with self._turn:
            channel, prefetch = self._channel, wanted()
            if channel is None or (self._is_stopped and prefetch):
                return
            # Before anything is awaited: who gives a slot back meanwhile sees that it is one more.
            self._prefetch = prefetch
            while self._consumers:
                await channel.stop_consuming(self._consumers.pop())
            for queue in self._queues if prefetch else ():
                tag = await channel.consume(queue, self._take, prefetch=prefetch)
                self._consumers.append(tag)

    def _take(self, delivery: Delivery) -> None:
        self._is_quiet = False
        self._on_delivery(delivery)
