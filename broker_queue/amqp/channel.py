"""One channel of a session: publish with confirms, consume with manual acknowledgement.

The channels are those of aiormq, below aio-pika: a message costs half the processor time, and aio-pika
10.2 keeps some 5 KB of each channel that was closed for as long as its connection lives.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiormq import spec
from aiormq.abc import ChannelFrame, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from broker_queue.amqp.failures import (
    CALL_TIMEOUT,
    Unroutable,
    as_unavailable,
    describe,
)
from broker_queue.amqp.flight import Flight, Settled
from broker_queue.amqp.framing import acknowledgement, message_frames
from broker_queue.amqp.settling import Acknowledgements
from broker_queue.errors import Unavailable

if TYPE_CHECKING:
    from aiormq.channel import Channel as UnderlyingChannel

    from broker_queue.amqp.connection import Session

PUBLISH_TIMEOUT = 30.0
"""Seconds for a confirm; a blocked connection (memory or disk alarm) withholds it."""


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """A message to be published. Times are whole seconds, as AMQP has them."""

    exchange: str
    routing_key: str
    body: bytes
    type: str | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    priority: int | None = None
    persistent: bool = True
    mandatory: bool = True
    timestamp: int | None = None
    expires_in: float | None = None
    """Seconds after which the broker drops it unread: nobody waits for the answer any more."""
    content_type: str = "application/json"

    @classmethod
    def answer(
        cls,
        reply_to: str,
        correlation_id: str | None,
        message_id: str | None,
        kind: str,
        body: bytes,
    ) -> Self:
        """Return what answers a request or report; it is dropped if nobody waits for it any more.

        Args:
            reply_to: of what is answered, as the next two.
            correlation_id: comes back.
            message_id: comes back too, so that answers about one job can be told apart.
            kind: of answer: ``ok``, ``error`` or a verdict.
            body: JSON.
        """
        return cls(
            exchange="",
            routing_key=reply_to,
            body=body,
            type=kind,
            correlation_id=correlation_id,
            message_id=message_id,
            mandatory=False,
            persistent=False,
        )

    def properties(self) -> spec.Basic.Properties:
        """Return the AMQP properties."""
        return spec.Basic.Properties(
            content_type=self.content_type,
            headers=self.headers or None,
            delivery_mode=2 if self.persistent else 1,
            priority=self.priority,
            correlation_id=self.correlation_id,
            reply_to=self.reply_to,
            message_id=self.message_id,
            expiration=None if self.expires_in is None else str(math.ceil(self.expires_in * 1000)),
            timestamp=None
            if self.timestamp is None
            else datetime.fromtimestamp(self.timestamp, UTC),
            message_type=self.type,
        )


@dataclass(slots=True, frozen=True)
class Delivery:
    """A message as it came in; acknowledge it on the channel that delivered it."""

    channel: Channel
    tag: int
    body: bytes
    type: str | None
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    headers: dict[str, Any]
    routing_key: str
    redelivered: bool
    timestamp: Any = None
    content_type: str | None = None
    content_encoding: str | None = None

    @property
    def is_lost(self) -> bool:
        """Whether its connection was lost, so that the broker delivers it again, to whomever."""
        return self.channel.session.lost.done()

    async def acknowledge(self, *, multiple: bool = False) -> None:
        """Settle it (and, with `multiple`, all before it on this channel).

        Raises:
            Unavailable: the channel is gone; the broker delivers the message again.
        """
        await self.channel.acknowledge(self.tag, multiple=multiple)

    async def requeue(self) -> None:
        """Give it back to the queue; quorum queues count this towards the delivery limit.

        RabbitMQ 4.3 does not count what is given back by ``basic.nack``, so this is a reject.
        """
        await self.channel.requeue(self.tag)

    async def reject(self) -> None:
        """Give up on it: the broker puts it into the queue's dead-letter exchange."""
        await self.channel.requeue(self.tag, again=False)


class QueueDepth(NamedTuple):
    """What the broker says of a queue: messages that are ready, and consumers."""

    messages: int
    consumers: int


class Channel:
    """A channel of one session: publish with confirms, consume with manual acknowledgement."""

    def __init__(self, session: Session, underlying: UnderlyingChannel, *, essential: bool) -> None:
        self.session = session
        self.underlying = underlying
        self._closing = underlying.closing
        self._acknowledgements = Acknowledgements(underlying.number, self._write_acknowledgements)
        if essential:
            underlying.on_consumer_cancel_callbacks.add(self._on_consumer_canceled)
            self._closing.add_done_callback(self._on_closed)

    @property
    def is_open(self) -> bool:
        return not (self.underlying.is_closed or self.session.lost.done())

    async def publish(self, message: Outgoing, timeout: float = PUBLISH_TIMEOUT) -> None:
        """Return once the broker has taken responsibility for `message`.

        Raises:
            Unroutable: it came back, or there is no such exchange (which ends the session).
            Unavailable: no confirm; whether the broker has it is unknown, so publish it again.
        """
        async with as_unavailable("the broker did not confirm a message"):
            try:
                confirmation = await self.underlying.basic_publish(
                    message.body,
                    exchange=message.exchange,
                    routing_key=message.routing_key,
                    properties=message.properties(),
                    mandatory=message.mandatory,
                    timeout=timeout,
                )
            except ChannelNotFoundEntity as error:
                raise Unroutable(f"there is no exchange {message.exchange!r}") from error
        if isinstance(confirmation, DeliveredMessage):
            raise Unroutable(
                f"no queue takes messages of exchange {message.exchange!r}, "
                f"routing key {message.routing_key!r}"
            )

    async def publish_many(
        self, messages: Sequence[Outgoing], settled: Settled, timeout: float = PUBLISH_TIMEOUT
    ) -> None:
        """Write many messages as one piece, at a fifth of the cost of `publish` for each.

        Each needs a `message_id`, by which the broker's return of it is known.

        Args:
            messages: in this order.
            settled: called for each of them when it is confirmed, returned or lost.
            timeout: seconds for the confirms; without them the session is ended.

        """
        flight: Flight | None = None
        try:
            async with as_unavailable("messages were not sent"), self.underlying.lock:
                flight = Flight(self, messages, settled, timeout)
                await self._write(messages)
        except Unavailable as error:
            if flight is None:
                for index in range(len(messages)):
                    settled(index, error)
        except BaseException:
            self.session.fail("messages were announced and not written")  # their numbers are spent
            raise

    def expect(self, message: Outgoing, confirm: asyncio.Future[Any]) -> None:
        """Have `confirm` done when the broker has settled what is written next.

        The broker numbers messages as they come (RabbitMQ's confirm.select), and so does the library.
        """
        channel = self.underlying
        channel.delivery_tag += 1
        channel.confirmations[channel.delivery_tag] = confirm
        if message.message_id is not None:
            channel.message_id_delivery_tag[message.message_id] = channel.delivery_tag

    def forget(self, message: Outgoing) -> None:
        """Expect no return of `message` any more."""
        self.underlying.message_id_delivery_tag.pop(message.message_id or "", None)

    async def send(self, messages: Sequence[Outgoing], timeout: float = PUBLISH_TIMEOUT) -> None:
        """Write many messages that nobody confirms.

        They go as one piece, at a tenth of the cost of `publish`; only on a channel without
        confirms, whose count they would upset.

        Raises:
            Unavailable: the connection was lost.
        """
        async with as_unavailable("messages were not sent"), asyncio.timeout(timeout):
            await self._write(messages)

    async def _write(self, messages: Sequence[Outgoing]) -> None:
        """Hand messages to the socket as one piece.

        Raises:
            Unavailable: the session was lost before.
        """
        channel = self.underlying
        payload = b"".join(
            message_frames(message, channel.number, channel.max_content_size)
            for message in messages
        )
        drained: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await channel.write_queue.put(ChannelFrame(payload, False, drained))
        await asyncio.wait((drained, self.session.lost), return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            raise Unavailable(f"the connection was lost: {self.session.lost.result()}")

    async def consume(
        self,
        queue: str,
        on_delivery: Callable[[Delivery], None],
        *,
        prefetch: int,
        no_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
    ) -> str:
        """Start a consumer and return its tag; `on_delivery` must only put the delivery away.

        `prefetch` bounds what is unacknowledged for each consumer started on this channel.
        """

        def deliver(message: DeliveredMessage) -> None:
            on_delivery(self._delivery(message))

        failure = f"the broker started no consumer for queue {queue!r}"
        async with as_unavailable(failure), asyncio.timeout(CALL_TIMEOUT):
            if not no_ack:
                await self.underlying.basic_qos(prefetch_count=prefetch)
            answer = await self.underlying.basic_consume(
                queue,
                deliver,  # type: ignore[arg-type]  # plain functions are accepted and wrapped
                no_ack=no_ack,
                exclusive=exclusive,
                consumer_tag=consumer_tag,
            )
        if answer.consumer_tag is None:
            raise Unavailable(f"the broker named no consumer for queue {queue!r}")
        return answer.consumer_tag

    async def declare_private_queue(self, exchange: str, binding: str, max_length: int) -> str:
        """Declare a queue for one consumer of this connection, to end with it; return its name.

        Beyond `max_length` messages the broker drops the oldest.

        Raises:
            Unroutable: there is no such exchange (which ends the session).
            Unavailable: the broker did not make it.
        """
        arguments: dict[str, Any] = {"x-queue-type": "classic", "x-max-length": max_length}
        failure = f"the broker made no queue for exchange {exchange!r}"
        async with as_unavailable(failure), asyncio.timeout(CALL_TIMEOUT):
            declared = await self.underlying.queue_declare(
                exclusive=True, auto_delete=True, arguments=arguments
            )
            queue = declared.queue or ""
            try:
                await self.underlying.queue_bind(queue, exchange, binding)
            except ChannelNotFoundEntity as error:
                raise Unroutable(f"there is no exchange {exchange!r}") from error
        return queue

    async def look(self, queue: str) -> QueueDepth:
        """Ask for a queue without making it; the broker closes the channel if it is not there.

        Raises:
            AMQPError, TimeoutError: the library's own, by which the reasons can be told apart.
        """
        counts = await self.underlying.queue_declare(queue, passive=True, timeout=CALL_TIMEOUT)
        return QueueDepth(counts.message_count or 0, counts.consumer_count or 0)

    async def stop_consuming(self, consumer_tag: str) -> None:
        """Stop deliveries to one consumer; what it holds stays unacknowledged."""
        with suppress(Unavailable):
            async with self._in_time("not stopped"):
                await self.underlying.basic_cancel(consumer_tag)

    async def acknowledge(self, tag: int, *, multiple: bool = False) -> None:
        if multiple:
            number = self.underlying.number
            await self._write_acknowledgements(acknowledgement(number, tag, multiple=True))
        else:
            await self._acknowledgements.add(tag)

    async def _write_acknowledgements(self, frames: bytes) -> None:
        async with self._in_time("could not acknowledge"):
            if self.underlying.is_closed:
                raise Unavailable("could not acknowledge: the channel is closed")
            await self.underlying.write_queue.put(ChannelFrame(frames, False, None))

    async def requeue(self, tag: int, *, again: bool = True) -> None:
        async with self._in_time("could not hand back"):
            await self.underlying.basic_reject(tag, requeue=again, wait=False)
        self._acknowledgements.skip(tag)  # not before: `multiple` must not overtake the reject

    async def close(self) -> None:
        """Close it on purpose: the session goes on, unacknowledged messages are requeued."""
        self._closing.remove_done_callback(self._on_closed)
        if self.session.lost.done():
            return  # it ends with the connection, which may answer nothing more
        with suppress(Unavailable):
            async with as_unavailable("not closed"), asyncio.timeout(CALL_TIMEOUT):
                await self.underlying.close()

    @asynccontextmanager
    async def _in_time(self, failure: str) -> AsyncIterator[None]:
        """For what depends on no queue's majority: the broker takes it at once, or is gone."""
        with self.silence_ends_session():
            async with as_unavailable(failure), asyncio.timeout(CALL_TIMEOUT):
                yield

    @contextmanager
    def silence_ends_session(self) -> Iterator[None]:
        """End the session where `Unavailable` comes of a time that is over."""
        try:
            yield
        except Unavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                self.session.fail(str(error))
            raise

    def _delivery(self, message: DeliveredMessage) -> Delivery:
        properties = message.header.properties
        delivery = message.delivery
        return Delivery(
            channel=self,
            tag=getattr(delivery, "delivery_tag", 0) or 0,
            body=message.body,
            type=properties.message_type,
            message_id=properties.message_id,
            correlation_id=properties.correlation_id,
            reply_to=properties.reply_to,
            headers=dict(properties.headers or {}),
            routing_key=message.routing_key or "",
            redelivered=bool(getattr(delivery, "redelivered", False)),
            timestamp=properties.timestamp,
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
        )

    def _on_closed(self, closing: asyncio.Future[Any]) -> None:
        reason = None if closing.cancelled() else closing.exception()
        self.session.fail(f"the broker closed a channel: {describe(reason)}")

    def _on_consumer_canceled(self, frame: spec.Basic.Cancel) -> None:
        self.session.fail(f"the broker canceled consumer {frame.consumer_tag!r}")
