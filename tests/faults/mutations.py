"""Deliberate bugs of a scheduler: the crash tests must find each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from broker_queue.job import State, Verdict
from scheduler import work
from scheduler.acting import Acting
from scheduler.broker.inbox import Batch, Inbox
from scheduler.loop import Loop
from scheduler.operations import reports, retry
from scheduler.operations.transaction import Transaction
from scheduler.rules import lifecycle
from scheduler.rules.lifecycle import JobFacts, Start, Succeed
from scheduler.store import dispatch, leader, queries
from scheduler.store.writer import Writer


def _ack_before_commit() -> None:
    """Messages are acknowledged before what they say is committed."""
    fold = Loop._fold

    async def fold_too_late(loop: Loop, batch: Batch) -> None:
        await loop._inbox._acknowledge_last(batch.deliveries)
        await fold(loop, batch)

    async def nothing(_inbox: Inbox, _batch: Batch, **_options: bool) -> None:
        return None

    patch.object(Loop, "_fold", fold_too_late).start()
    patch.object(Inbox, "acknowledge", nothing).start()


def _commit_late() -> None:
    """A transaction is committed with the next one, after its answers have gone out."""
    begun: list[Any] = []

    def transact(writer: Writer, apply: Callable[[Any], Any], **_options: bool) -> Any:
        writer._release()
        if begun:
            begun[-1].commit()
            begun.pop().close()
        connection = writer._engine.connect()
        connection.begin()
        begun.append(connection)
        leader.check_epoch(connection, writer.epoch)
        return apply(connection)

    patch.object(Writer, "_transact", transact).start()


def _no_outbox_scan() -> None:
    """A scheduler that starts does not publish again what was not confirmed."""
    patch.object(work, "begin", lambda found: ([], dispatch.all_queues(found))).start()


def _ignore_attempt() -> None:
    """A report of an older attempt counts for the current one."""

    def fence(job: JobFacts, _handover: int) -> Verdict | None:
        if job.state is State.CANCELED:
            return Verdict.CANCELED
        return Verdict.STALE if job.state.is_final else None

    patch.object(lifecycle, "_fence", fence).start()


def _overwrite_result() -> None:
    """A second report of the same hand-over replaces the result."""

    def fence(job: JobFacts, handover: int) -> Verdict | None:
        if job.state is State.CANCELED:
            return Verdict.CANCELED
        return None if handover == job.handover else Verdict.STALE

    patch.object(lifecycle, "_fence", fence).start()
    lifecycle.TRANSITIONS[State.FINISHED, Succeed] = (State.FINISHED,)


def _deaf_to_cancels() -> None:
    """Workers are not told of cancels, and claims of canceled jobs are granted."""
    fold = reports._fold_one

    def consenting(transaction: Transaction, report: reports.Incoming) -> Verdict:
        verdict = fold(transaction, report)
        is_claim = isinstance(report.event, Start) and verdict is Verdict.CANCELED
        return Verdict.ACCEPTED if is_claim else verdict

    async def tell_nobody(*_: Any) -> None:
        return None

    patch.object(reports, "_fold_one", consenting).start()
    patch.object(Acting, "_revoke", tell_nobody).start()


def _copy_again() -> None:
    """A retry that is repeated makes other copies."""
    patch.object(queries, "retried_as", lambda *_: {}).start()


def _retry_alone() -> None:
    """A retry leaves out what was skipped because of the job."""
    patch.object(retry, "_with_skipped", lambda _, roots: list(roots)).start()


def _no_epoch_check() -> None:
    """A scheduler that was paused writes on though another has taken over."""
    patch.object(leader, "check_epoch", lambda *_: None).start()


def _release_early() -> None:
    """The first dependency that ends releases a job."""
    satisfy = lifecycle._satisfy

    def too_soon(job: JobFacts, edges: int, now: int) -> JobFacts:
        return satisfy(job, job.pending if edges else 0, now)

    patch.object(lifecycle, "_satisfy", too_soon).start()


MUTATIONS: dict[str, Callable[[], None]] = {
    "ack_before_commit": _ack_before_commit,
    "commit_late": _commit_late,
    "no_outbox_scan": _no_outbox_scan,
    "ignore_attempt": _ignore_attempt,
    "overwrite_result": _overwrite_result,
    "release_early": _release_early,
    "no_epoch_check": _no_epoch_check,
    "deaf_to_cancels": _deaf_to_cancels,
    "copy_again": _copy_again,
    "retry_alone": _retry_alone,
}
