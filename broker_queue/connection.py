"""One AMQP connection that is kept up: the only place that knows the AMQP client library.

`Connection` connects, runs its owner's set-up (declare, consume), and starts over with growing,
jittered pauses whenever anything of it is lost: the socket, one channel, one consumer. A half-alive
connection is worse than none, so any loss tears down all of it; the broker then hands out again
what was not acknowledged. Nothing is replayed: whoever published without a confirm decides.

aio-pika opens connections and declares; messages move on its underlying aiormq channels, which
costs half the processor time for each.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aio_pika
import aiormq
from aiormq import spec
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import decode
from yarl import URL

from broker_queue.errors import BrokerQueueError, ConfigurationError, Unavailable

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel as UnderlyingChannel

log = logging.getLogger(__name__)

CALL_TIMEOUT = 20.0
"""Seconds for any one broker call: a quorum queue without majority answers never."""

PUBLISH_TIMEOUT = 30.0
"""Seconds for a confirm; a blocked connection (memory or disk alarm) withholds it."""

MAX_PAUSE = 10.0
"""Seconds between attempts to connect, at most."""

HEARTBEAT = 15
"""Seconds; RabbitMQ advises 5 to 20 (https://www.rabbitmq.com/docs/heartbeats)."""

BROKER_ERRORS = (aiormq.exceptions.AMQPError, ConnectionError, OSError, RuntimeError, TimeoutError)
"""What the client library raises when the broker or the network fails; RuntimeError is its
ChannelInvalidStateError."""


class Unroutable(BrokerQueueError):
    """A mandatory message came back: no queue is bound to its routing key, or no such exchange."""


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

    async def acknowledge(self, *, multiple: bool = False) -> None:
        """Settle it (and, with `multiple`, all before it on this channel).

        Raises:
            Unavailable: the channel is gone; the broker delivers the message again.
        """
        await self.channel.acknowledge(self.tag, multiple=multiple)

    async def requeue(self) -> None:
        """Give it back to the queue; quorum queues count this towards the delivery limit."""
        await self.channel.requeue(self.tag)

    async def reject(self) -> None:
        """Give up on it: the broker puts it into the queue's dead-letter exchange."""
        await self.channel.requeue(self.tag, again=False)


class Channel:
    """A channel of one session: publish with confirms, consume with manual acknowledgement."""

    def __init__(
        self, session: Session, channel: aio_pika.abc.AbstractChannel, *, essential: bool
    ) -> None:
        self.session = session
        self.declaring = channel
        self._essential = essential
        self._underlying: UnderlyingChannel | None = None

    async def open(self) -> None:
        """Open it; if it is essential, every way of losing it ends the session."""
        async with as_unavailable("the broker opened no channel"), asyncio.timeout(CALL_TIMEOUT):
            await self.declaring.initialize()
            self._underlying = await self.declaring.get_underlay_channel()
        if not self._essential:
            return
        self._underlying.on_consumer_cancel_callbacks.add(self._on_consumer_canceled)
        self.declaring.close_callbacks.add(self._on_closed)

    @property
    def underlying(self) -> UnderlyingChannel:
        if self._underlying is None:
            raise Unavailable("the channel is not open")
        return self._underlying

    async def publish(self, message: Outgoing, timeout: float = PUBLISH_TIMEOUT) -> None:
        """Return once the broker has taken responsibility for `message`.

        Raises:
            Unroutable: it came back, or there is no such exchange (which ends the session).
            Unavailable: no confirm; whether the broker has it is unknown, so publish it again.
        """
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
        except BROKER_ERRORS as error:
            raise Unavailable(f"the broker did not confirm a message: {describe(error)}") from error
        except asyncio.CancelledError as error:
            raise_if_not_own(error)
            raise Unavailable("the connection was lost while publishing") from error
        if isinstance(confirmation, DeliveredMessage):
            raise Unroutable(
                f"no queue takes messages of exchange {message.exchange!r}, "
                f"routing key {message.routing_key!r}"
            )

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
            queue = await self.declaring.declare_queue(
                exclusive=True, auto_delete=True, arguments=arguments
            )
            try:
                await queue.bind(exchange, binding)
            except ChannelNotFoundEntity as error:
                raise Unroutable(f"there is no exchange {exchange!r}") from error
        return queue.name

    async def stop_consuming(self, consumer_tag: str) -> None:
        """Stop deliveries to one consumer; what it holds stays unacknowledged."""
        with suppress(Unavailable):
            async with as_unavailable("not stopped"), asyncio.timeout(CALL_TIMEOUT):
                await self.underlying.basic_cancel(consumer_tag)

    async def acknowledge(self, tag: int, *, multiple: bool = False) -> None:
        try:
            await self.underlying.basic_ack(tag, multiple=multiple, wait=False)
        except BROKER_ERRORS as error:
            raise Unavailable(f"could not acknowledge: {describe(error)}") from error

    async def requeue(self, tag: int, *, again: bool = True) -> None:
        try:
            await self.underlying.basic_nack(tag, requeue=again, wait=False)
        except BROKER_ERRORS as error:
            raise Unavailable(f"could not hand back: {describe(error)}") from error

    async def close(self) -> None:
        """Close it on purpose: the session goes on, unacknowledged messages are requeued."""
        self.declaring.close_callbacks.discard(self._on_closed)
        self.session.channels.discard(self)
        with suppress(Unavailable):
            async with as_unavailable("not closed"), asyncio.timeout(CALL_TIMEOUT):
                await self.declaring.close()

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
        )

    def _on_closed(self, _channel: Any, reason: BaseException | None) -> None:
        self.session.fail(f"the broker closed a channel: {describe(reason)}")

    def _on_consumer_canceled(self, frame: spec.Basic.Cancel) -> None:
        self.session.fail(f"the broker canceled consumer {frame.consumer_tag!r}")


class Session:
    """One life of a connection, from connect to loss."""

    def __init__(self, connection: aio_pika.abc.AbstractConnection) -> None:
        self._connection = connection
        self.channels: set[Channel] = set()  # aio-pika itself holds them by weak references
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.close_callbacks.add(self._on_closed)

    async def open_channel(self, *, confirms: bool = True, essential: bool = True) -> Channel:
        """Open one more channel; it lives as long as the session or until it is closed.

        A channel that is not `essential` may be closed by the broker (a probe of a queue that is
        not there) without ending the session.
        """
        channel = Channel(
            self,
            self._connection.channel(publisher_confirms=confirms, on_return_raises=False),
            essential=essential,
        )
        await channel.open()
        self.channels.add(channel)
        return channel

    @property
    def server(self) -> str:
        """Name and version of the broker, from its greeting."""
        transport = self._connection.transport
        properties = getattr(getattr(transport, "connection", None), "server_properties", {}) or {}
        return " ".join(_text(properties.get(key, "")) for key in ("product", "version")).strip()

    def fail(self, reason: str) -> None:
        """End this session; the connection starts over."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self) -> None:
        self._connection.close_callbacks.discard(self._on_closed)
        self.fail("closed")
        with suppress(*BROKER_ERRORS, asyncio.CancelledError):
            async with asyncio.timeout(5):
                await self._connection.close()

    def _on_closed(self, _connection: Any, reason: BaseException | None) -> None:
        self.fail(describe(reason))


class Connection:
    """Keeps one connection to the broker up, until it is closed.

    Args:
        url: ``amqp://user:password@host:port/vhost``; ``amqps://`` for TLS.
        name: shown on the broker's management page.
        setup: run on every new session before it counts as ready.
    """

    def __init__(self, url: str, *, name: str, setup: Callable[[Session], Awaitable[None]]) -> None:
        self._url = parse_url(url)
        self._name = name
        self._setup = setup
        self._session: Session | None = None
        self._changed = asyncio.Condition()
        self._problem = "not connected yet"
        self._attempts = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The URL without its password, for messages."""
        return str(self._url.with_password(None).with_query(None))

    async def start(self, *, fail_fast: bool = False, timeout: float = CALL_TIMEOUT) -> None:
        """Begin to connect; with `fail_fast`, the first failure is raised in place of a retry.

        Raises:
            Unavailable: not connected, and `fail_fast`.
        """
        self._task = asyncio.create_task(self._run(), name=f"connection {self._name}")
        if not fail_fast:
            return
        async with self._changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changed.wait_for(lambda: self._session or self._attempts)
        if self._session is None:
            await self.close()
            raise Unavailable(self._unavailable_text())

    async def session(self, timeout: float = CALL_TIMEOUT) -> Session:
        """Return the session that is up, waiting at most `timeout` seconds for one.

        Raises:
            Unavailable: none came up.
        """
        if self._session is not None:
            return self._session
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: self._session)
        if self._session is None:
            raise Unavailable(self._unavailable_text())
        return self._session

    @property
    def is_up(self) -> bool:
        return self._session is not None

    async def close(self) -> None:
        """Close for good; whatever was not acknowledged goes back to its queue."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        pause = 0.2
        while True:
            session: Session | None = None
            try:
                session = await self._open()
                pause = 0.2
                log.info("connected to %s at %s (%s)", session.server, self.address, self._name)
                await self._set(session)
                self._problem = await asyncio.shield(session.lost)
            except (*BROKER_ERRORS, BrokerQueueError) as error:
                self._problem = describe(error)
            finally:
                await self._set(None)
                if session is not None:
                    await session.close()
            log.warning(
                "no connection to %s (%s): %s; trying again in %.1f s",
                self.address, self._name, self._problem, pause,
            )  # fmt: skip
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads reconnects
            pause = min(pause * 2, MAX_PAUSE)

    async def _open(self) -> Session:
        defaults: dict[str, str] = {"name": self._name, "heartbeat": str(HEARTBEAT)}
        connection = aio_pika.Connection(self._url.with_query(defaults | dict(self._url.query)))
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                await connection.connect()
        except BaseException:
            await connection.close()  # or its destructor tries to, in whatever thread it runs
            raise
        session = Session(connection)
        try:
            await self._setup(session)
        except BaseException:
            await session.close()
            raise
        return session

    async def _set(self, session: Session | None) -> None:
        async with self._changed:
            if session is None:
                self._attempts += 1
            self._session = session
            self._changed.notify_all()

    def _unavailable_text(self) -> str:
        return (
            f"no connection to RabbitMQ at {self.address}: {self._problem}; "
            "check that it runs and that the URL, user and virtual host are right"
        )


@asynccontextmanager
async def as_unavailable(failure: str) -> AsyncIterator[None]:
    """Turn what the client library raises into `Unavailable`, which says `failure` and why."""
    try:
        yield
    except BROKER_ERRORS as error:
        raise Unavailable(f"{failure}: {describe(error)}") from error
    except asyncio.CancelledError as error:
        raise_if_not_own(error)
        raise Unavailable(f"{failure}: the connection was lost") from error


def parse_url(url: str) -> URL:
    """Return the broker's URL.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        parsed = URL(url)
        usable = parsed.scheme in ("amqp", "amqps") and bool(parsed.host)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{url!r} is no broker URL; it looks like amqp://user:password@host:5672/vhost"
        )
    return parsed


def describe(error: BaseException | None) -> str:
    """Return one line about an error of the client library, never empty."""
    if error is None:
        return "closed"
    text = str(error).strip() or type(error).__name__
    if isinstance(error, TimeoutError) and not str(error).strip():
        text = "no answer in time"
    return " ".join(text.split())


def raise_if_not_own(error: asyncio.CancelledError) -> None:
    """Re-raise a cancellation that was meant for this task.

    The client library also lets a lost connection appear as CancelledError in tasks that nobody
    canceled; those have no pending cancel request.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _short_text(value: bytes) -> tuple[int, str]:
    length = value[0]
    return length + 1, value[1 : length + 1].decode(errors="replace")


def _moment(value: bytes) -> tuple[int, datetime]:
    try:
        return _strict_moment(value)
    except (ValueError, OverflowError, OSError):
        return 8, datetime.fromtimestamp(0, UTC)


_strict_moment = decode.timestamp
# The library closes the connection at a property that it cannot read. The broker would deliver that
# message again to the next one, for ever: anybody could stop a scheduler with one message.
decode.METHODS |= {"shortstr": _short_text, "timestamp": _moment}
decode.TABLE_MAPPING |= {b"T": _moment}
decode.short_str = _short_text
