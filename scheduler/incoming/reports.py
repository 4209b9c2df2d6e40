"""What workers report, each under the token of its hand-over."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from broker_queue.amqp.channel import Delivery
from broker_queue.errors import Invalid, RequestError, TooLarge
from broker_queue.job import FailureCode
from broker_queue.protocol import names as words
from broker_queue.protocol.codec import check_json, decode
from broker_queue.protocol.messages import Error, encode
from broker_queue.protocol.names import MAX_DETAILS_BYTES
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
from broker_queue.protocol.results import as_json, with_way_out
from scheduler.incoming.addressing import Parked, encoding_note, refuse_newer, reply_address
from scheduler.operations.reports import Growth, Incoming
from scheduler.operations.transaction import ReplyAddress
from scheduler.rules import lifecycle
from scheduler.rules.lifecycle import Fail, HandBack, Start, Succeed
from scheduler.tokens import Token, Tokens


class Terms(NamedTuple):
    """What the settings say of reports."""

    max_result: int
    """Bytes."""
    lease: int
    """Milliseconds that a lease, or a heartbeat, is good for."""


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
    if words.HEADER_PROTOCOL in delivery.headers:
        try:
            refuse_newer(delivery)
        except Invalid as error:
            kind = delivery.type or "finished"
            refused = _Report(kind, delivery.body, reply=reply_address(delivery))
            return [_refused(refused, token, error.message)], None
    report = _Report(
        delivery.type or "finished",
        delivery.body,
        started,
        reply_address(delivery),
        delivery.content_type,
        delivery.content_encoding,
    )
    return [_incoming(report, token, terms)], None


def _read_batch(
    delivery: Delivery, tokens: Tokens, terms: Terms
) -> tuple[list[Incoming], Parked | None]:
    try:
        if words.HEADER_PROTOCOL in delivery.headers:
            refuse_newer(delivery)
        items = decode(delivery.body, list[msgspec.Raw])
    except Invalid as error:
        note = encoding_note(delivery.content_encoding)
        return [], Parked(delivery, f"batch: {error.message}{note}")
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
    report = _Report(item.type, _body(item), item.started)
    return _incoming(report, token, terms)


def _wrong_item(text: bytes, tokens: Tokens, error: Invalid) -> Incoming | None:
    try:
        named = decode(text, _Named)
    except Invalid:
        return None
    token = tokens.read(named.token)
    if token is None:
        return None
    return _refused(_Report(named.type, text), token, error.message)


class _Report(NamedTuple):
    kind: str
    body: bytes
    started: int | None = None
    reply: ReplyAddress | None = None
    content_type: str | None = None
    content_encoding: str | None = None


def _incoming(report: _Report, token: Token, terms: Terms) -> Incoming:
    try:
        return _understood(report, token, terms)
    except RequestError as error:
        note = encoding_note(report.content_encoding)
        return _refused(report, token, error.message + note)


def _understood(report: _Report, token: Token, terms: Terms) -> Incoming:
    number, reply = token.handover, report.reply
    if report.kind == "finished":
        kind, body = report.content_type, report.body
        result = as_json(body, kind) if kind else body or b"null"  # no call for each of a batch
        try:
            check_json(result, "result", terms.max_result)
        except Invalid as problem:
            raise with_way_out(problem) from None
        return Incoming(token, Succeed(number, report.started), result=result, reply=reply)
    if report.kind not in REPORTS or report.kind == "batch":
        known = ", ".join(REPORTS)
        raise Invalid(
            f"no report of type {report.kind!r}; there are {known}, and without a type it is finished"
        )
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
