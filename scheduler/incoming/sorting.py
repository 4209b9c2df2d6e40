"""What the messages of a batch mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scheduler.broker.inbox import Batch
from scheduler.incoming.addressing import Parked, reply_address
from scheduler.incoming.dead_letters import read_dead
from scheduler.incoming.reports import Terms, read_reports
from scheduler.incoming.requests import RefusedRequest, Request, read_request
from scheduler.operations.reports import Incoming
from scheduler.operations.transaction import ReplyAddress
from scheduler.tokens import Tokens


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
