"""What clients and workers ask."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from broker_queue.amqp.channel import Delivery
from broker_queue.errors import Invalid, RequestError
from broker_queue.protocol.bare import BARE
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import Error, Message
from broker_queue.protocol.names import HEADER_PROTOCOL
from broker_queue.protocol.operations import REQUESTS
from broker_queue.protocol.reports import REPORTS
from scheduler.incoming.addressing import Parked, encoding_note, refuse_newer, reply_address
from scheduler.incoming.bare import read_bare
from scheduler.operations.transaction import ReplyAddress


class Request(NamedTuple):
    """A request with its body as sent, and where its answer goes."""

    operation: str
    """`BARE` of one without a type."""
    message: Message
    body: bytes
    reply: ReplyAddress | None
    delivery: Delivery


class RefusedRequest(NamedTuple):
    """A request that cannot be understood; its sender is told why."""

    reply: ReplyAddress
    error: RequestError


def read_request(delivery: Delivery) -> Request | RefusedRequest | Parked:
    """Return what a message of the requests queue asks for."""
    reply = reply_address(delivery)
    if delivery.reply_to and reply is None:
        return Parked(delivery, f"reply_to {delivery.reply_to!r} is not an allowed address")
    try:
        return _request(delivery, reply)
    except RequestError as error:
        error.message += encoding_note(delivery.content_encoding)
        return Parked(delivery, error.message) if reply is None else RefusedRequest(reply, error)


def error_body(error: RequestError) -> Error:
    """Return a refusal as the body of an ``error`` answer."""
    details = msgspec.Raw(msgspec.json.encode(error.details)) if error.details else msgspec.UNSET
    return Error(code=error.code, message=error.message[:20_000], details=details)


def _request(delivery: Delivery, reply: ReplyAddress | None) -> Request:
    if HEADER_PROTOCOL in delivery.headers:
        refuse_newer(delivery)
    if not delivery.type:
        bare = read_bare(delivery.body, delivery.message_id or "")
        return Request(BARE, bare, delivery.body, reply, delivery)
    operation = REQUESTS.get(delivery.type)
    if operation is None:
        known = ", ".join(REQUESTS)
        if delivery.type in REPORTS:
            known += "; this is a report, which goes to the address in reply_to of its job"
        raise Invalid(f"type: no operation {delivery.type!r}; there are {known}", {"field": "type"})
    message = decode(delivery.body or b"{}", operation.request)
    return Request(delivery.type, message, delivery.body, reply, delivery)
