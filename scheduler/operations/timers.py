"""What is due: ends of delays and back-offs, time limits of running jobs."""

from __future__ import annotations

from broker_queue.job import FailureCode, State
from broker_queue.protocol.messages import Error
from scheduler.operations.settle import settle
from scheduler.operations.transaction import Transaction
from scheduler.rules.lifecycle import TIMEOUT_GRACE, Due, TimeOut
from scheduler.store import jobs, submits

PART_LIFETIME = 3_600_000
"""Milliseconds that the parts of an incomplete submit are kept after the last one came."""


def run_due(transaction: Transaction) -> int | None:
    """Move on what is due now and return when the next job is due."""
    due = jobs.load_due(transaction.connection, transaction.now)
    transaction.adopt(due)
    for job in due:
        facts = transaction.facts(job.facts.key)
        if facts.due_at is None or facts.due_at > transaction.now:
            continue
        if facts.state is State.SCHEDULED:
            transaction.apply(facts.key, Due())
        else:
            transaction.apply(facts.key, TimeOut(), error=_timeout_error(facts.timeout))
    settle(transaction)
    return jobs.next_due(transaction.connection)


def forget_old_parts(transaction: Transaction) -> None:
    """Delete submits whose parts never became complete."""
    submits.forget_parts(transaction.connection, transaction.now - PART_LIFETIME)


def _timeout_error(timeout: int | None) -> Error:
    return Error(
        code=FailureCode.TIMEOUT,
        message=f"ran longer than its time limit of {(timeout or 0) / 1000:g} s, and its worker "
        f"did not report within {TIMEOUT_GRACE / 1000:g} s more",
    )
