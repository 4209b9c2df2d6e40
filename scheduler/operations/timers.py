"""What is due: ends of delays and back-offs, time limits and leases of running jobs."""

from __future__ import annotations

from typing import NamedTuple

from broker_queue.job import FailureCode, State
from broker_queue.protocol.messages import Error
from scheduler.operations.settle import settle
from scheduler.operations.transaction import Transaction
from scheduler.rules.lifecycle import TIMEOUT_GRACE, Due, JobFacts, Lapse, Lease, TimeOut
from scheduler.store import jobs, submits

PART_LIFETIME = 3_600_000
"""Milliseconds that the parts of an incomplete submit are kept after the last one came."""


class Leases(NamedTuple):
    """When a worker that holds a job by lease counts as lost."""

    hears_at: int = 0
    """Nobody is lost before this time (ms): until then, what workers say may not have come here."""
    max_losses: int = 1
    """Lost workers after which a job fails."""
    patience: int = 0
    """Milliseconds in which somebody must be heard of a job that nothing else watches."""


ALL_ARE_HEARD = Leases()


def run_due(transaction: Transaction, leases: Leases) -> int | None:
    """Move on what is due now and return when the next job is due."""
    due = jobs.load_due(transaction.connection, transaction.now)
    transaction.adopt(due)
    for job in due:
        facts = transaction.facts(job.facts.key)
        if facts.due_at is None or facts.due_at > transaction.now:
            continue
        if facts.state is State.SCHEDULED:
            transaction.apply(facts.key, Due())
        elif facts.time_limit is not None and facts.time_limit <= transaction.now:
            transaction.apply(facts.key, TimeOut(), error=_timeout_error(facts.timeout))
        else:
            _lapse(transaction, facts, leases)
    settle(transaction)
    return jobs.next_due(transaction.connection)


def forget_old_parts(transaction: Transaction) -> None:
    """Delete submits whose parts never became complete."""
    submits.forget_parts(transaction.connection, transaction.now - PART_LIFETIME)


def _lapse(transaction: Transaction, facts: JobFacts, leases: Leases) -> None:
    patience = leases.hears_at - transaction.now
    if patience > 0:
        transaction.apply(facts.key, Lease(facts.handover, patience))
        return
    problem = (
        f"its worker fell silent while it held the job by lease, {facts.losses + 1} times; "
        f"the last one was {facts.worker or 'a worker without a name'}"
    )
    lose(transaction, facts, Lapse(facts.handover, leases.max_losses), problem)


def lose(transaction: Transaction, facts: JobFacts, lapse: Lapse, problem: str) -> None:
    """Apply a lapse to a loaded job; with the last one that it may have, it fails of `problem`."""
    is_last = facts.losses + 1 >= lapse.max_losses
    error = Error(code=FailureCode.WORKER_DIED, message=problem) if is_last else None
    transaction.apply(facts.key, lapse, error=error)


def _timeout_error(timeout: int | None) -> Error:
    return Error(
        code=FailureCode.TIMEOUT,
        message=f"ran longer than its time limit of {(timeout or 0) / 1000:g} s, and its worker "
        f"did not report within {TIMEOUT_GRACE / 1000:g} s more",
    )
