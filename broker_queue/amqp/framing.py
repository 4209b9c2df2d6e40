"""Frames of messages that are published many at a time, made without an object for each part.

AMQP 0-9-1, 4.2: a method frame, a header frame with the properties, and frames with the body.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from aiormq import spec
from pamqp import encode, frame
from pamqp.body import ContentBody
from pamqp.constants import FRAME_END_CHAR, FRAME_HEADER, FRAME_METHOD

if TYPE_CHECKING:
    from broker_queue.amqp.channel import Outgoing

_HEADER_FRAME = struct.Struct(">BHIHxxQ")
"""Frame type, channel, size of the payload; class, (weight,) size of the body: AMQP 0-9-1, 2.3.5."""
_HEADER_SIZE = 12
_BASIC_CLASS = 60
_ACK_FRAME = struct.Struct(">BHIHHQBB")
_ACK_SIZE = 13
_ACK = 80
_FLAGS = struct.Struct(">H")
_TIMESTAMP = struct.Struct(">Q")

CONTENT_TYPE, HEADERS, DELIVERY_MODE, PRIORITY = 1 << 15, 1 << 13, 1 << 12, 1 << 11
CORRELATION_ID, REPLY_TO, EXPIRATION, MESSAGE_ID = 1 << 10, 1 << 9, 1 << 8, 1 << 7
TIMESTAMP, TYPE = 1 << 6, 1 << 5
"""Flags of the properties of class basic, which stand in this order."""


def message_frames(message: Outgoing, channel: int, max_body: int) -> bytes:
    """Return everything of one message, as it goes to the socket.

    Args:
        message: to be published.
        channel: number of the channel.
        max_body: bytes of the body in one frame.
    """
    properties = _properties(message)
    body = message.body
    parts = [
        _method(message.exchange, message.routing_key, message.mandatory, channel),
        _HEADER_FRAME.pack(
            FRAME_HEADER, channel, _HEADER_SIZE + len(properties), _BASIC_CLASS, len(body)
        ),
        properties,
        FRAME_END_CHAR,
    ]
    starts = range(0, len(body), max_body)
    parts += [frame.marshal(ContentBody(body[at : at + max_body]), channel) for at in starts]
    return b"".join(parts)


def acknowledgement(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """Return the frame of a ``basic.ack``."""
    end = FRAME_END_CHAR[0]
    return _ACK_FRAME.pack(FRAME_METHOD, channel, _ACK_SIZE, _BASIC_CLASS, _ACK, tag, multiple, end)


@lru_cache(maxsize=1_000)
def _method(exchange: str, routing_key: str, mandatory: bool, channel: int) -> bytes:
    publish = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return frame.marshal(publish, channel)


def _properties(message: Outgoing) -> bytes:
    flags = CONTENT_TYPE | DELIVERY_MODE
    parts = [_short(message.content_type)]
    if message.headers:
        flags |= HEADERS
        parts.append(encode.field_table(message.headers))
    parts.append(b"\x02" if message.persistent else b"\x01")
    if message.priority is not None:
        flags |= PRIORITY
        parts.append(bytes((message.priority,)))
    if message.correlation_id is not None:
        flags |= CORRELATION_ID
        parts.append(_short(message.correlation_id))
    if message.reply_to is not None:
        flags |= REPLY_TO
        parts.append(_short(message.reply_to))
    if message.expires_in is not None:
        flags |= EXPIRATION
        parts.append(_short(str(math.ceil(message.expires_in * 1000))))
    if message.message_id is not None:
        flags |= MESSAGE_ID
        parts.append(_short(message.message_id))
    if message.timestamp is not None:
        flags |= TIMESTAMP
        parts.append(_TIMESTAMP.pack(message.timestamp))
    if message.type is not None:
        flags |= TYPE
        parts.append(_short(message.type))
    return _FLAGS.pack(flags) + b"".join(parts)


def _short(text: str) -> bytes:
    """Return a short string: at most 255 bytes."""
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded
