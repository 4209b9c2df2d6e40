"""Deliveries into what they mean: requests, reports, dead jobs. What means nothing is parked."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from broker_queue.amqp.channel import Delivery
from broker_queue.errors import Invalid, RequestError, TooLarge
from broker_queue.job import FailureCode
from broker_queue.protocol import names as words
from broker_queue.protocol.codec import check_json, decode
from broker_queue.protocol.messages import REQUESTS, Error, Message, encode
from broker_queue.protocol.names import MAX_DETAILS_BYTES, reply_to_is_allowed
from broker_queue.protocol.reports import (
    REPORTS,
    BatchItem,
    Failed,
    FinishedWithJobs,
    Lease,
    Progressed,
    Released,
    Started,
)
from scheduler.broker.inbox import Batch
from scheduler.operations.reports import Growth, Incoming
from scheduler.operations.transaction import ReplyAddress
from scheduler.rules import lifecycle
from scheduler.rules.lifecycle import Die, Fail, HandBack, Start, Succeed
from scheduler.tokens import Token, Tokens

DEAD_REASONS = {
    "delivery_limit": "its worker died, or gave it back, too often: {count} deliveries",
    "rejected": "a worker rejected its message",
    "expired": "its message expired in the queue: a policy of the broker limits its time there",
    "maxlen": "its queue was full: a policy of the broker limits its length",
}


class Parked(NamedTuple):
    """A message that nobody can be told about."""

    delivery: Delivery
    reason: str


class Request(NamedTuple):
    """A request with its body as sent, and where its answer goes."""

    operation: str
    message: Message
    body: bytes
    reply: ReplyAddress | None
    delivery: Delivery


class RefusedRequest(NamedTuple):
    """A request that cannot be understood; its sender is told why."""

    reply: ReplyAddress
    error: RequestError


class Terms(NamedTuple):
    """What the settings say of reports."""

    max_result: int
    """Bytes."""
    lease: int
    """Milliseconds that a lease, or a heartbeat, is good for."""


class Sorted(NamedTuple):
    """What the messages of a batch mean."""

    writes: list[Request]
    reads: list[Request]
    reports: list[Incoming]
    refused: list[RefusedRequest]
    unknown: list[ReplyAddress]
    """Who asked what became of a report whose token is none of ours."""
    parked: list[Parked]


def sort(batch: Batch, tokens: Tokens, terms: Terms, is_read: Callable[[str], bool]) -> Sorted:
    """Return what the messages of a batch mean.

    Args:
        batch: as it was taken.
        tokens: verify whose reports they are.
        terms: of reports.
        is_read: whether an operation is answered without the writer.
    """
    found = Sorted([], [], [], [], [], [])
    for delivery in batch.requests:
        request = read_request(delivery)
        if isinstance(request, Parked):
            found.parked.append(request)
        elif isinstance(request, RefusedRequest):
            found.refused.append(request)
        else:
            (found.reads if is_read(request.operation) else found.writes).append(request)
    for delivery in batch.reports:
        reports, problem = read_reports(delivery, tokens, terms)
        found.reports.extend(reports)
        if problem is None:
            continue
        reply = None if delivery.type == "batch" else reply_address(delivery)
        if reply is None:
            found.parked.append(problem)
        else:
            found.unknown.append(reply)
    for delivery in batch.dead:
        death = read_dead(delivery, tokens)
        if isinstance(death, Parked):
            found.parked.append(death)
        else:
            found.reports.append(death)
    return found


def read_request(delivery: Delivery) -> Request | RefusedRequest | Parked:
    """Return what a message of the requests queue asks for."""
    reply = reply_address(delivery)
    if delivery.reply_to and reply is None:
        return Parked(delivery, f"reply_to {delivery.reply_to!r} is not an allowed address")
    try:
        return _request(delivery, reply)
    except RequestError as error:
        return Parked(delivery, error.message) if reply is None else RefusedRequest(reply, error)


def read_reports(
    delivery: Delivery, tokens: Tokens, terms: Terms
) -> tuple[list[Incoming], Parked | None]:
    """Return the reports in a message of the reports queue, and why it is parked, if it is.

    A report that names its job but is wrong otherwise fails the job, with the reason. Of a batch,
    what has a token counts, and the whole is parked if something in it has none.
    """
    if delivery.type == "batch":
        return _read_batch(delivery, tokens, terms)
    token = tokens.read(delivery.correlation_id)
    if token is None:
        problem = "no correlation_id" if not delivery.correlation_id else "not a token of ours"
        return [], Parked(delivery, f"report with an unknown token: {problem}")
    started = delivery.headers.get(words.HEADER_STARTED)
    if not isinstance(started, int) or isinstance(started, bool) or started < 0:
        started = None
    kind = delivery.type or "finished"
    report = _Report(kind, delivery.body, started, reply_address(delivery))
    return [_incoming(report, token, terms)], None


def _read_batch(
    delivery: Delivery, tokens: Tokens, terms: Terms
) -> tuple[list[Incoming], Parked | None]:
    try:
        items = decode(delivery.body, list[msgspec.Raw])
    except Invalid as error:
        return [], Parked(delivery, f"batch: {error.message}")
    read = [_read_item(bytes(item), tokens, terms) for item in items]
    found = [report for report in read if report is not None]
    unknown = len(read) - len(found)
    if not unknown:
        return found, None
    return found, Parked(delivery, f"batch: {unknown} of {len(items)} tokens are unknown")


def _body(item: BatchItem) -> bytes:
    """Return the body as the report's own message would have it; there, none is empty."""
    text = b"" if isinstance(item.body, msgspec.UnsetType) else bytes(item.body)
    return b"" if text == b"null" else text


class _Named(msgspec.Struct):
    """The least that can be read of an item: whose it is."""

    token: str
    type: str = "finished"


def _read_item(text: bytes, tokens: Tokens, terms: Terms) -> Incoming | None:
    """Return a report of a batch, or None if it names no hand-over; other mistakes fail its job."""
    try:
        item = decode(text, BatchItem)
    except Invalid as error:
        return _wrong_item(text, tokens, error)
    token = tokens.read(item.token)
    if token is None:
        return None
    report = _Report(item.type, _body(item), item.started, None)
    return _incoming(report, token, terms)


def _wrong_item(text: bytes, tokens: Tokens, error: Invalid) -> Incoming | None:
    try:
        named = decode(text, _Named)
    except Invalid:
        return None
    token = tokens.read(named.token)
    if token is None:
        return None
    return _refused(_Report(named.type, text, None, None), token, error.message)


def read_dead(delivery: Delivery, tokens: Tokens) -> Incoming | Parked:
    """Return the death of a job that the broker gave up on."""
    token = tokens.read(delivery.correlation_id)
    if token is None:
        return Parked(delivery, "dead letter with an unknown token")
    reason = str(delivery.headers.get("x-first-death-reason", "rejected"))
    count = delivery.headers.get("x-delivery-count", "many")
    known = DEAD_REASONS.get(reason)
    text = known.format(count=count) if known else f"the broker gave up on it: {reason[:1_000]}"
    died = reason == "delivery_limit"
    code = FailureCode.WORKER_DIED if died else FailureCode.DEAD_LETTER
    return Incoming(token, Die(token.handover), error=Error(code=code, message=text))


def reply_address(delivery: Delivery) -> ReplyAddress | None:
    """Return where an answer goes, if one is wanted and the address is an allowed one."""
    if not delivery.reply_to or not reply_to_is_allowed(delivery.reply_to):
        return None
    return ReplyAddress(delivery.reply_to, delivery.correlation_id)


class _Report(NamedTuple):
    kind: str
    body: bytes
    started: int | None
    reply: ReplyAddress | None


def _request(delivery: Delivery, reply: ReplyAddress | None) -> Request:
    operation = REQUESTS.get(delivery.type or "")
    if operation is None:
        known = ", ".join(REQUESTS)
        raise Invalid(f"type: no operation {delivery.type!r}; there are {known}", {"field": "type"})
    message = decode(delivery.body or b"{}", operation.request)
    return Request(delivery.type or "", message, delivery.body, reply, delivery)


def _incoming(report: _Report, token: Token, terms: Terms) -> Incoming:
    try:
        return _understood(report, token, terms)
    except RequestError as error:
        return _refused(report, token, error.message)


def _understood(report: _Report, token: Token, terms: Terms) -> Incoming:
    number, reply = token.handover, report.reply
    if report.kind == "finished":
        result = report.body or b"null"
        check_json(result, "result", terms.max_result)
        return Incoming(token, Succeed(number, report.started), result=result, reply=reply)
    if report.kind not in REPORTS or report.kind == "batch":
        raise Invalid(f"no report of type {report.kind!r}; there are {', '.join(REPORTS)}")
    message = decode(report.body or b"{}", REPORTS[report.kind])
    match message:
        case FinishedWithJobs():
            result = bytes(message.result)
            check_json(result, "result", terms.max_result)
            growth = Growth(message.jobs, message.extend)
            event = Succeed(number, report.started)
            return Incoming(token, event, result=result, growth=growth, reply=reply)
        case Failed():
            delay = None if message.delay is None else round(message.delay * 1000)
            error = Error(code=message.code, message=message.message, details=_bounded(message))
            fail = Fail(number, retry=message.retry, delay=delay, started_at=report.started)
            return Incoming(token, fail, error=error, reply=reply)
        case Started():
            return Incoming(token, Start(number, message.worker), reply=reply)
        case Progressed():
            _check_data(message)
            return Incoming(token, None, progress=encode(message), reply=reply)
        case Lease():
            lease = lifecycle.Lease(number, terms.lease, message.worker)
            return Incoming(token, lease, reply=reply)
        case Released():
            return Incoming(token, HandBack(number), reply=reply)
    raise Invalid(f"no report of type {report.kind!r}")


def _bounded(failed: Failed) -> msgspec.Raw | msgspec.UnsetType:
    """Return the details, or what was wrong with them: the failure itself is not to be lost."""
    if isinstance(failed.details, msgspec.UnsetType) or _fits(failed.details):
        return failed.details
    size = len(bytes(failed.details))
    problem = f"the details had {size} bytes and were left out; the limit is {MAX_DETAILS_BYTES}"
    return msgspec.Raw(msgspec.json.encode({"problem": problem}))


def _check_data(progress: Progressed) -> None:
    if not isinstance(progress.data, msgspec.UnsetType) and not _fits(progress.data):
        size = len(bytes(progress.data))
        raise TooLarge(
            f"data has {size} bytes, the limit is {MAX_DETAILS_BYTES}",
            {"field": "data", "size": size, "limit": MAX_DETAILS_BYTES},
        )


def _fits(text: msgspec.Raw) -> bool:
    return len(bytes(text)) <= MAX_DETAILS_BYTES


def _refused(report: _Report, token: Token, problem: str) -> Incoming:
    error = Error(
        code=FailureCode.INVALID_REPORT,
        message=f"its worker's report ({report.kind[:100]}) does not keep the protocol: {problem}",
    )
    return Incoming(token, Fail(token.handover, retry=False), error=error, reply=report.reply)


def error_body(error: RequestError) -> Error:
    """Return a refusal as the body of an ``error`` answer."""
    details = msgspec.Raw(msgspec.json.encode(error.details)) if error.details else msgspec.UNSET
    return Error(code=error.code, message=error.message[:20_000], details=details)
