"""Consuming for one dequeue: what is delivered, and how the rest is handed back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from broker_queue.amqp.channel import Channel, Delivery
from broker_queue.errors import Invalid, Unavailable
from broker_queue.protocol.messages import encode
from broker_queue.protocol.reports import Released
from broker_queue.requests import Requests

log = logging.getLogger(__name__)

HAND_BACK_TIMEOUT = 10.0
"""Seconds for the confirm of one ``released``; after that the broker takes the message back."""


class Taking:
    """Consumers on a channel of their own; each holds one message at most.

    Args:
        requests: reports go out there.
        channel: opened for this alone.
    """

    def __init__(self, requests: Requests, channel: Channel) -> None:
        self.ended = asyncio.Event()
        self._requests = requests
        self._channel = channel
        self._arrivals: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._held: list[Delivery] = []
        self._consumers: list[str] = []
        self._problem = ""
        channel.session.lost.add_done_callback(self._on_lost)

    async def consume(self, queues: Sequence[str]) -> None:
        """Start to consume.

        Raises:
            Unavailable: the connection was lost, or a queue is not there.
        """
        for queue in queues:
            consumer = await self._channel.consume(queue, self._on_delivery, prefetch=1)
            self._consumers.append(consumer)

    async def next(self, timeout: float) -> Delivery | None:
        """Return what was delivered next, or None after `timeout` seconds.

        Raises:
            Unavailable: the connection was lost, or `interrupt` was called.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                delivery = await self._arrivals.get()
                if delivery is None:
                    raise Unavailable(self._problem)
                return delivery
        return None

    def interrupt(self, problem: str) -> None:
        """Make `next` raise `Unavailable`."""
        self._problem = problem
        self._arrivals.put_nowait(None)

    async def hand_back(self, delivery: Delivery, reason: str) -> None:
        """Give a message back so that it does not count as an attempt, nor as a delivery."""
        self._held.remove(delivery)
        await hand_back(self._requests, delivery, reason)

    async def reject(self, delivery: Delivery, problem: Invalid) -> None:
        """Dead-letter a message that is no job; see `reject`."""
        self._held.remove(delivery)
        await reject(delivery, problem)

    async def stop(self, *, keep: Delivery | None = None) -> None:
        """Consume no more and hand everything back, except for `keep`, whose channel stays open."""
        try:
            for consumer in self._consumers:
                await self._channel.stop_consuming(consumer)
            for delivery in list(self._held):
                if delivery is not keep:
                    await self.hand_back(delivery, "another job was taken, or none is wanted")
            if keep is None:
                await self._channel.close()
        finally:
            self._channel.session.lost.remove_done_callback(self._on_lost)
            self.ended.set()

    def _on_delivery(self, delivery: Delivery) -> None:
        self._held.append(delivery)
        self._arrivals.put_nowait(delivery)

    def _on_lost(self, lost: asyncio.Future[str]) -> None:
        self.interrupt(f"the connection was lost: {lost.result()}")


async def reject(delivery: Delivery, problem: Invalid) -> None:
    """Dead-letter a message that is no job: the scheduler fails its job, or parks it.

    Raises:
        Unavailable: the connection is gone, and with it the delivery.
    """
    log.warning("message rejected, queue of %s: %s", delivery.routing_key, problem)
    await delivery.reject()


async def release(requests: Requests, token: str, reason: str) -> None:
    """Report a job as ``released``: that counts as no attempt.

    Raises:
        Unavailable: the report was not confirmed.
    """
    body = encode(Released(reason=reason))
    await requests.tell("released", token, body, timeout=HAND_BACK_TIMEOUT)


async def hand_back(requests: Requests, delivery: Delivery, reason: str) -> None:
    """Report a message as ``released``, then settle it; if that fails, the broker takes it back.

    Nothing is reported of a message that is lost: the job would be taken from who has it by now.
    """
    if delivery.is_lost:
        return
    try:
        await release(requests, delivery.correlation_id or "", reason)
        await delivery.acknowledge()
    except Unavailable as error:
        log.debug("handed back by the broker: %s", error)
        with suppress(Unavailable):  # the connection is gone, and with it the delivery
            await delivery.requeue()
