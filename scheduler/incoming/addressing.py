"""Whom to tell of a message: who sent it, or, where nobody can be told, an operator."""

from __future__ import annotations

from typing import NamedTuple

from broker_queue.amqp.channel import Delivery
from broker_queue.errors import Invalid
from broker_queue.protocol.names import HEADER_PROTOCOL, PROTOCOL_VERSION, reply_to_is_allowed
from scheduler.operations.transaction import ReplyAddress


class Parked(NamedTuple):
    """A message that nobody can be told about."""

    delivery: Delivery
    reason: str


def reply_address(delivery: Delivery) -> ReplyAddress | None:
    """Return where an answer goes, if one is wanted and the address is an allowed one."""
    if not delivery.reply_to or not reply_to_is_allowed(delivery.reply_to):
        return None
    return ReplyAddress(delivery.reply_to, delivery.correlation_id, delivery.message_id)


def encoding_note(content_encoding: str | None) -> str:
    """Return what to add to an error about a body that its sender may have compressed."""
    if not content_encoding or content_encoding.lower() in {"utf-8", "identity"}:
        return ""
    return f"; its content_encoding is {content_encoding!r}, and nothing is decoded: send it plain"


def refuse_newer(delivery: Delivery) -> None:
    """Return if a message is of a version of the protocol that is spoken here.

    Raises:
        Invalid: its header `protocol` names another; what it means is not guessed.
    """
    version = delivery.headers[HEADER_PROTOCOL]
    if version != PROTOCOL_VERSION:
        raise Invalid(
            f"headers.protocol: this scheduler speaks version {PROTOCOL_VERSION} of the protocol, "
            f"the message is of version {repr(version)[:20]}; leave the header out for version 1",
            {"field": "headers.protocol"},
        )
