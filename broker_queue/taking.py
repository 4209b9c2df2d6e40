"""Consuming for one dequeue: what is delivered, and how the rest is handed back."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from broker_queue.amqp.channel import Channel, Delivery
from broker_queue.errors import Unavailable
from broker_queue.job import GraphId, JobId
from broker_queue.protocol import names as words
from broker_queue.protocol.codec import RawJson
from broker_queue.protocol.messages import encode
from broker_queue.protocol.reports import Released
from broker_queue.requests import Requests

log = logging.getLogger(__name__)

HAND_BACK_TIMEOUT = 10.0
"""Seconds for the confirm of one ``released``; after that the broker takes the message back."""


@dataclass(frozen=True, kw_only=True)
class DequeuedJob:
    """A job at hand: it is running, and this program is its worker.

    Attributes:
        raw_args: JSON text of the args, byte for byte as they were enqueued, with the results that
            they refer to filled in.
        dependencies: ids of the jobs that it depended on.
        attempt: number of this attempt, from 1.
        timeout: seconds after which the scheduler takes the attempt for failed.
        token: names this hand-over; whoever has it may report on it.
    """

    id: JobId
    type: str
    raw_args: RawJson = field(repr=False)
    dependencies: tuple[JobId, ...] = ()
    attempt: int = 1
    max_attempts: int = 1
    channel: str = ""
    name: str | None = None
    graph: GraphId | None = None
    timeout: float | None = None
    token: str = field(repr=False)

    @cached_property
    def args(self) -> Any:
        """The args, parsed."""
        return json.loads(self.raw_args)


def read_job(delivery: Delivery, dependencies: Iterable[str]) -> DequeuedJob:
    """Return the job in a message of a job queue that has an id, a token and a type."""
    headers = delivery.headers
    graph = headers.get(words.HEADER_GRAPH)
    return DequeuedJob(
        id=JobId(delivery.message_id or ""),
        type=delivery.type or "",
        raw_args=RawJson(delivery.body),
        dependencies=tuple(JobId(job) for job in dependencies),
        attempt=headers.get(words.HEADER_ATTEMPT, 1),
        max_attempts=headers.get(words.HEADER_MAX_ATTEMPTS, 1),
        channel=headers.get(words.HEADER_CHANNEL, ""),
        name=headers.get(words.HEADER_NAME),
        graph=None if graph is None else GraphId(graph),
        timeout=headers.get(words.HEADER_TIMEOUT),
        token=delivery.correlation_id or "",
    )


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

    async def reject(self, delivery: Delivery) -> None:
        """Dead-letter a message that is no job; the scheduler parks it where it is found."""
        log.warning("a message in the queue of %s is no job; rejected", delivery.routing_key)
        self._held.remove(delivery)
        await delivery.reject()

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


async def hand_back(requests: Requests, delivery: Delivery, reason: str) -> None:
    """Report a message as ``released``, then settle it; if that fails, the broker takes it back."""
    body = encode(Released(reason=reason))
    try:
        token = delivery.correlation_id or ""
        await requests.tell("released", token, body, timeout=HAND_BACK_TIMEOUT)
        await delivery.acknowledge()
    except Unavailable as error:
        log.debug("handed back by the broker: %s", error)
        with suppress(Unavailable):  # the connection is gone, and with it the delivery
            await delivery.requeue()
