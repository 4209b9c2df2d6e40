"""One batch applied in one transaction: what the loop asks the writer to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker_queue.errors import RequestError
from broker_queue.protocol.bare import BARE
from broker_queue.protocol.messages import Message, NewJob, Submit
from scheduler.clock import chance
from scheduler.incoming.requests import Request, error_body
from scheduler.operations import cancel, handout, recover, reports, retry, settle, submit, timers
from scheduler.operations.reports import Incoming
from scheduler.operations.timers import ALL_ARE_HEARD, Leases
from scheduler.operations.transaction import Effects, Transaction
from scheduler.rules.submission import Limits
from scheduler.store import dispatch, leader
from scheduler.store.database import Connection
from scheduler.store.dispatch import NO_ROOM, HeldJob, Room

SHORT_REPORTS = 200
SMALL_REQUEST = 4 << 10
"""Bytes."""


@dataclass(slots=True, kw_only=True)
class Work:
    """What one transaction does."""

    now: int
    requests: Sequence[Request] = ()
    reports: Sequence[Incoming] = ()
    published: Sequence[tuple[int, int]] = ()
    publish_again: Collection[int] = ()
    failed: Sequence[Incoming] = ()
    """Jobs that could not be made into messages."""
    fill: Collection[int] = ()
    """Queues whose windows earlier transactions left unfilled."""
    run_timers: bool = False
    leases: Leases = ALL_ARE_HEARD
    remade: Collection[tuple[str, str]] = ()
    """Type and channel of queues that were gone, and were made again."""
    lost: Collection[HeldJob] = ()
    """Jobs whose messages are gone."""
    settle: bool = False
    room: Room = NO_ROOM
    """What may be handed out: publishing more than the broker takes would only fill memory."""
    lead_until: int | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(
            self.requests
            or self.reports
            or self.published
            or self.publish_again
            or self.failed
            or (self.fill and self.room.jobs)
            or self.run_timers
            or self.settle
            or self.remade
            or self.lost
            or self.lead_until
        )

    @property
    def is_short(self) -> bool:
        """Whether it takes some milliseconds only: single jobs and reports, no matter of graphs."""
        if self.settle or self.run_timers or self.remade or self.lost:
            return False
        few = len(self.reports) + len(self.failed) + len(self.publish_again) <= SHORT_REPORTS
        return few and all(_is_small(request) for request in self.requests)


@dataclass(slots=True)
class Done:
    """What came of it. Requests that were refused, and had nobody to tell, are in `refused`."""

    effects: Effects = field(default_factory=Effects)
    next_due: int | None = None
    refused: list[tuple[Request, str]] = field(default_factory=list)


def _is_small(request: Request) -> bool:
    message = request.message
    if len(request.body) > SMALL_REQUEST:
        return False
    if isinstance(message, Submit):
        return message.parts == 1 and not message.extend
    return isinstance(message, NewJob)


Operation = Callable[[Transaction, Any, bytes], Message]

OPERATIONS: dict[str, Operation] = {
    BARE: submit.take_bare,
    "submit": submit.submit,
    "add_dependencies": submit.add_dependencies,
    "cancel": lambda transaction, request, _body: cancel.cancel(transaction, request),
    "retry": lambda transaction, request, _body: retry.retry(transaction, request),
}
"""The requests that write."""


def apply(connection: Connection, work: Work, limits: Limits, window: int) -> Done:
    """Do `work` inside a transaction of the writer."""
    transaction = Transaction(connection, work.now, chance, limits)
    done = Done(transaction.effects)
    if work.lead_until is not None:
        leader.renew(connection, work.lead_until)
        timers.forget_old_parts(transaction)
    if work.remade:  # before what was published since counts as published
        recover.refill(transaction, work.remade, work.leases.patience)
    reported = [*work.reports, *work.failed]
    transaction.load({report.token.key for report in reported})  # most are reported and confirmed
    transaction.note_published(work.published)
    reports.fold(transaction, reported)
    if work.lost:
        recover.lose(transaction, work.lost, work.leases)
    for request in work.requests:
        _answer(transaction, request, done)
    if work.run_timers:
        done.next_due = timers.run_due(transaction, work.leases)
    if work.settle:
        settle.settle_frontier(transaction)
    transaction.queues.update(work.fill)
    handout.hand_out(transaction, window, work.room)
    if work.publish_again:
        handout.hand_out_again(transaction, work.publish_again, work.room)
    return done


def begin(connection: Connection) -> tuple[list[int], list[int]]:
    """Return what an earlier scheduler left: the jobs in its outbox, and all queues."""
    return dispatch.publishing(connection), dispatch.all_queues(connection)


def _answer(transaction: Transaction, request: Request, done: Done) -> None:
    try:
        answer = OPERATIONS[request.operation](transaction, request.message, request.body)
    except RequestError as error:
        if request.reply is None:
            done.refused.append((request, error.message))
        transaction.answer(request.reply, "error", error_body(error))
    else:
        transaction.answer(request.reply, "ok", answer)
