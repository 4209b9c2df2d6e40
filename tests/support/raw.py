"""The protocol by hand: messages as any program in any language could send them, right or wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple
from uuid import uuid4

from aiormq.exceptions import ChannelNotFoundEntity

from broker_queue.amqp.channel import Channel, Delivery, Outgoing, QueueDepth
from broker_queue.amqp.connection import Connection, Session
from broker_queue.protocol.names import REPLY_TO_DIRECT, REPORTS_KEY, REQUESTS_KEY, Names
from tests.support.waiting import PATIENCE, until


class Answered(NamedTuple):
    """An answer to a request or report."""

    type: str
    body: Any


class RawClient:
    """Publishes what it is told to, whether or not it keeps the protocol.

    Args:
        url: of the broker.
        namespace: of the scheduler.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self.names = Names(namespace)
        self._connection = Connection(url, name=f"raw client {namespace}", setup=self._set_up)
        self._channel: Channel | None = None
        self._looking: Channel | None = None
        self._waiting: dict[str, asyncio.Future[Answered]] = {}

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        type: str | None = None,  # noqa: A002  # the property's name
        correlation_id: str | None = None,
        reply_to: str | None = None,
        message_id: str | None = None,
        headers: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> None:
        """Publish one message, confirmed."""
        message = Outgoing(
            message_id=message_id,
            exchange=exchange,
            routing_key=routing_key,
            body=body,
            type=type,
            correlation_id=correlation_id,
            reply_to=reply_to,
            headers=dict(headers or {}),
            content_type=content_type,
        )
        await self.channel.publish(message)

    async def request(
        self, operation: str | None, body: bytes | Any, message_id: str | None = None
    ) -> Answered:
        """Send a request and return its answer."""
        key = uuid4().hex
        return await self._exchange(
            self.names.requests, REQUESTS_KEY, operation, key, body, message_id=message_id
        )

    async def report(
        self,
        kind: str | None,
        token: str | None,
        body: bytes | Any = b"null",
        headers: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Answered:
        """Send a report that asks for an answer, and return it."""
        given = {"headers": headers, "content_type": content_type}
        return await self._exchange(
            self.names.reports, REPORTS_KEY, kind, token or "", body, **given
        )

    async def tell(self, kind: str | None, token: str | None, body: bytes | Any = b"null") -> None:
        """Send a report that asks for no answer."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.publish(self.names.reports, REPORTS_KEY, text, type=kind, correlation_id=token)

    async def take(self, job_type: str, channel: str = "") -> Delivery:
        """Take the next job of a type, once there is one; it stays unacknowledged."""
        return await self.get(self.names.job_queue(job_type, channel))

    async def get(self, queue: str) -> Delivery:
        """Take the next message of a queue, once there is one; it stays unacknowledged."""
        if queue.startswith(f"{self.names.jobs}."):
            job_type, _, channel = queue.removeprefix(f"{self.names.jobs}.").partition("@")
            hello = {"worker": "raw", "types": [job_type], "channels": [channel], "stopping": False}
            assert (await self.request("hello", hello)).type == "ok"
        async with asyncio.timeout(PATIENCE):
            while True:
                # A quorum queue that was just made may cut off who takes from it too early.
                if await self.count(queue):
                    message = await self.channel.underlying.basic_get(queue)
                    if message.delivery.name == "Basic.GetOk":
                        return self.channel._delivery(message)  # the one way to make one
                await asyncio.sleep(0.005)

    async def parked(self) -> Delivery:
        """Take the next parked message."""
        found = await self.get(self.names.parked)
        await found.acknowledge()
        return found

    async def count(self, queue: str) -> int:
        """Return how many messages are ready in a queue, once there is such a queue."""
        return (await self._look(queue)).messages

    async def consumers(self, queue: str) -> int:
        """Return how many consumers a queue has, once there is such a queue."""
        return (await self._look(queue)).consumers

    async def until_ready(self, queue: str, messages: int) -> None:
        """Return once so many messages are ready in a queue."""

        async def are_ready() -> bool:
            return await self.count(queue) == messages

        await until(are_ready)

    async def until_consumed(self, queue: str, consumers: int) -> None:
        """Return once a queue has so many consumers."""

        async def is_consumed() -> bool:
            return await self.consumers(queue) == consumers

        await until(is_consumed)

    @property
    def channel(self) -> Channel:
        assert self._channel is not None
        return self._channel

    async def __aenter__(self) -> RawClient:
        await self._connection.start(fail_fast=True)
        await self._connection.session()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def _set_up(self, session: Session) -> None:
        self._looking = None
        self._channel = await session.open_channel()
        await self._channel.consume(REPLY_TO_DIRECT, self._on_answer, prefetch=0, no_ack=True)

    async def _look(self, queue: str) -> QueueDepth:
        # A job's request is answered before its type's first queue is made; and to ask for a queue
        # that is not there costs the channel.
        session = await self._connection.session()
        async with asyncio.timeout(PATIENCE):
            while True:
                if self._looking is None:
                    self._looking = await session.open_channel(confirms=False, essential=False)
                try:
                    return await self._looking.look(queue)
                except ChannelNotFoundEntity:
                    self._looking = None
                    await asyncio.sleep(0.01)

    def _on_answer(self, delivery: Delivery) -> None:
        waiting = self._waiting.pop(delivery.correlation_id or "", None)
        if waiting is not None and not waiting.done():
            waiting.set_result(Answered(delivery.type or "", json.loads(delivery.body)))

    async def _exchange(  # private
        self,
        exchange: str,
        routing_key: str,
        kind: str | None,
        key: str,
        body: bytes | Any,
        **more: Any,
    ) -> Answered:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        await self.publish(
            exchange,
            routing_key,
            text,
            type=kind,
            correlation_id=key or None,
            reply_to=REPLY_TO_DIRECT,
            **more,
        )
        async with asyncio.timeout(PATIENCE):
            found: Answered = await answer
        return found
