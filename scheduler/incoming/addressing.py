"""Whom to tell of a message: who sent it, or, where nobody can be told, an operator."""

from __future__ import annotations

from typing import NamedTuple

from broker_queue.amqp.channel import Delivery
from broker_queue.protocol.names import reply_to_is_allowed
from scheduler.operations.transaction import ReplyAddress


class Parked(NamedTuple):
    """A message that nobody can be told about."""

    delivery: Delivery
    reason: str


def reply_address(delivery: Delivery) -> ReplyAddress | None:
    """Return where an answer goes, if one is wanted and the address is an allowed one."""
    if not delivery.reply_to or not reply_to_is_allowed(delivery.reply_to):
        return None
    return ReplyAddress(delivery.reply_to, delivery.correlation_id)


def encoding_note(content_encoding: str | None) -> str:
    """Return what to add to an error about a body that its sender may have compressed."""
    if not content_encoding or content_encoding.lower() in {"utf-8", "identity"}:
        return ""
    return f"; its content_encoding is {content_encoding!r}, and nothing is decoded: send it plain"
