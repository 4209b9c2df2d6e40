"""What a connection between somebody's program and the broker says, read off its bytes.

`Wiretap` is fed what passes in either direction and returns it as events in the words of the
protocol: a queue is consumed, a message delivered, published, settled. It changes nothing and
fails on nothing: what it cannot read, it leaves out.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from pamqp import base, commands, frame
from pamqp.body import ContentBody
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

HEADER_SIZE = 7
"""Of a frame: type, channel, size of what follows (AMQP 0-9-1, section 4.2.3)."""

GREETING = b"AMQP"
GREETING_SIZE = 8


class Properties(NamedTuple):
    """Those of a message that the protocol speaks of."""

    type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str | None = None
    delivery_mode: int | None = None


class Opened(NamedTuple):
    """The broker let the program in."""


class Lost(NamedTuple):
    """The connection is over, in whatever way; said by who forwards it."""


class Refused(NamedTuple):
    """The broker closed a channel or the connection because of a mistake."""

    channel: int
    scope: str
    """``channel`` or ``connection``."""
    code: int
    text: str


class Declared(NamedTuple):
    """The program declares a queue."""

    queue: str
    passive: bool


class Bound(NamedTuple):
    """The program binds a queue."""

    queue: str
    exchange: str
    routing_key: str


class Consumed(NamedTuple):
    """The program consumes a queue."""

    channel: int
    queue: str
    no_ack: bool
    prefetch: int
    """What it may hold unacknowledged; 0 is without bound."""
    once: bool = False
    """It asks for one message (``get``), and starts no consumer."""


class ConfirmsAsked(NamedTuple):
    """The program wants its messages confirmed, on this channel."""

    channel: int


class Published(NamedTuple):
    """The program publishes a message."""

    channel: int
    exchange: str
    routing_key: str
    properties: Properties
    body: bytes


class Confirmed(NamedTuple):
    """The broker confirms messages of the program."""

    channel: int


class Delivered(NamedTuple):
    """The program is given a message."""

    channel: int
    exchange: str
    routing_key: str
    redelivered: bool
    properties: Properties
    body: bytes


class Returned(NamedTuple):
    """No queue took a message of the program, and the broker says so."""

    exchange: str
    routing_key: str
    properties: Properties


class Settled(NamedTuple):
    """The program acknowledges or gives back a message."""

    message: Delivered
    how: str
    """``ack``, ``requeue`` or ``reject``."""
    with_later: bool = False
    """By a frame for a later message, with ``multiple`` set."""


Event: TypeAlias = (
    Opened | Lost | Refused | Declared | Bound | Consumed | ConfirmsAsked | Published | Confirmed
    | Delivered | Returned | Settled
)  # fmt: skip


@dataclass(slots=True)
class _Content:
    """A message whose frames are still coming."""

    method: Any
    body: bytearray = field(default_factory=bytearray)
    size: int | None = None
    properties: Properties = field(default_factory=Properties)

    def add(self, part: ContentHeader | ContentBody) -> bool:
        """Add the next frame; return whether it is whole."""
        if isinstance(part, ContentHeader):
            self.size = part.body_size
            found = part.properties
            self.properties = Properties(
                type=found.message_type,
                correlation_id=found.correlation_id,
                reply_to=found.reply_to,
                content_type=found.content_type,
                delivery_mode=found.delivery_mode,
            )
        else:
            self.body += part.value or b""
        return self.size is not None and len(self.body) >= self.size


@dataclass(slots=True)
class _Channel:
    """What is known of a channel."""

    number: int
    prefetch: int = 0
    sending: _Content | None = None
    receiving: _Content | None = None
    held: dict[int, Delivered] = field(default_factory=dict)
    """Not settled yet, by delivery tag, in the order of delivery."""
    no_ack: dict[str, bool] = field(default_factory=dict)
    """By consumer tag."""
    unnamed: deque[bool] = field(default_factory=deque)
    """Consumers whose tag the broker will name."""
    declared: str = ""
    """The queue declared last, which an empty name means."""

    def name(self, consumer_tag: str | None) -> None:
        """Note the tag that the broker gives a consumer, or that a ``get`` found nothing."""
        if consumer_tag is None or consumer_tag not in self.no_ack:
            no_ack = bool(self.unnamed and self.unnamed.popleft())
            if consumer_tag is not None:
                self.no_ack[consumer_tag] = no_ack


class _Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, base.Frame | ContentHeader | ContentBody]]:
        self._buffer += data
        while len(self._buffer) >= HEADER_SIZE:
            if self._buffer.startswith(GREETING):
                if len(self._buffer) < GREETING_SIZE:
                    return
                del self._buffer[:GREETING_SIZE]
                continue
            size = HEADER_SIZE + int.from_bytes(self._buffer[3:HEADER_SIZE], "big") + 1
            if len(self._buffer) < size:
                return
            whole = bytes(self._buffer[:size])
            del self._buffer[:size]
            try:
                _, channel, found = frame.unmarshal(whole)
            except (PAMQPException, ValueError, LookupError, TypeError, struct.error):
                continue  # of an unknown kind: the broker will say what it thinks of it
            if isinstance(found, base.Frame | ContentHeader | ContentBody):
                yield channel, found


class Wiretap:
    """Reads one connection."""

    def __init__(self) -> None:
        self._sent = _Frames()
        self._received = _Frames()
        self._channels: dict[int, _Channel] = {}

    def sent(self, data: bytes) -> list[Event]:
        """Return what the program says with these bytes."""
        return [
            event
            for number, found in self._sent.feed(data)
            for event in self._of_program(self._channel(number), found)
        ]

    def received(self, data: bytes) -> list[Event]:
        """Return what the broker says with these bytes."""
        return [
            event
            for number, found in self._received.feed(data)
            for event in self._of_broker(self._channel(number), found)
        ]

    def _channel(self, number: int) -> _Channel:
        return self._channels.setdefault(number, _Channel(number))

    def _of_program(self, channel: _Channel, found: Any) -> Iterator[Event]:
        match found:
            case commands.Basic.Publish():
                channel.sending = _Content(found)
            case ContentHeader() | ContentBody():
                if channel.sending is not None and channel.sending.add(found):
                    yield _published(channel.number, channel.sending)
                    channel.sending = None
            case commands.Basic.Consume() | commands.Basic.Get() | commands.Basic.Qos():
                yield from _takes(channel, found)
            case commands.Basic.Ack() | commands.Basic.Nack() | commands.Basic.Reject():
                yield from _settle(channel, found)
            case commands.Queue.Declare() | commands.Queue.Bind():
                yield from _prepares(channel, found)
            case commands.Confirm.Select():
                yield ConfirmsAsked(channel.number)
            case commands.Channel.Close() | commands.Channel.CloseOk():
                self._channels.pop(channel.number, None)

    def _of_broker(self, channel: _Channel, found: Any) -> Iterator[Event]:
        match found:
            case commands.Connection.OpenOk():
                yield Opened()
            case commands.Connection.Close() | commands.Channel.Close():
                scope = "channel" if isinstance(found, commands.Channel.Close) else "connection"
                self._channels.pop(channel.number, None)
                yield Refused(channel.number, scope, found.reply_code or 0, found.reply_text or "")
            case commands.Queue.DeclareOk():
                channel.declared = found.queue or channel.declared
            case commands.Basic.ConsumeOk() | commands.Basic.GetEmpty():
                channel.name(getattr(found, "consumer_tag", None))
            case commands.Basic.Ack() | commands.Basic.Nack():
                yield Confirmed(channel.number)
            case commands.Basic.Deliver() | commands.Basic.GetOk() | commands.Basic.Return():
                channel.receiving = _Content(found)
            case ContentHeader() | ContentBody():
                if channel.receiving is not None and channel.receiving.add(found):
                    yield _received(channel, channel.receiving)
                    channel.receiving = None


def _takes(channel: _Channel, found: Any) -> Iterator[Consumed]:
    if isinstance(found, commands.Basic.Qos):
        channel.prefetch = found.prefetch_count or 0
        return
    no_ack = bool(found.no_ack)
    tag = getattr(found, "consumer_tag", "")
    if tag:
        channel.no_ack[tag] = no_ack
    else:
        channel.unnamed.append(no_ack)
    once = isinstance(found, commands.Basic.Get)
    prefetch = 1 if once else channel.prefetch
    yield Consumed(channel.number, found.queue or channel.declared, no_ack, prefetch, once)


def _prepares(channel: _Channel, found: Any) -> Iterator[Declared | Bound]:
    if isinstance(found, commands.Queue.Declare):
        channel.declared = found.queue or channel.declared
        yield Declared(found.queue or "", bool(found.passive))
    else:
        queue = found.queue or channel.declared
        yield Bound(queue, found.exchange or "", found.routing_key or "")


def _published(number: int, content: _Content) -> Published:
    method = content.method
    return Published(
        channel=number,
        exchange=method.exchange or "",
        routing_key=method.routing_key or "",
        properties=content.properties,
        body=bytes(content.body),
    )


def _received(channel: _Channel, content: _Content) -> Delivered | Returned:
    method = content.method
    exchange, routing_key = method.exchange or "", method.routing_key or ""
    if isinstance(method, commands.Basic.Return):
        return Returned(exchange, routing_key, content.properties)
    delivered = Delivered(
        channel=channel.number,
        exchange=exchange,
        routing_key=routing_key,
        redelivered=bool(method.redelivered),
        properties=content.properties,
        body=bytes(content.body),
    )
    if isinstance(method, commands.Basic.Deliver):
        no_ack = channel.no_ack.get(method.consumer_tag or "", False)
    else:
        no_ack = bool(channel.unnamed and channel.unnamed.popleft())
    if not no_ack:
        channel.held[method.delivery_tag or 0] = delivered
    return delivered


def _settle(channel: _Channel, found: Any) -> Iterator[Settled]:
    how = "ack"
    if not isinstance(found, commands.Basic.Ack):
        how = "requeue" if found.requeue else "reject"
    tag = found.delivery_tag or 0
    tags = [tag]
    if getattr(found, "multiple", False):
        tags = [held for held in channel.held if not tag or held <= tag]
    for each in tags:
        message = channel.held.pop(each, None)
        if message is not None:
            yield Settled(message, how, with_later=each != tag)
