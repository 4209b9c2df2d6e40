"""Jobs whose messages are gone: their queue was made anew, or nobody has been heard of for long."""

from __future__ import annotations

from collections.abc import Collection

from broker_queue.job import State
from scheduler.operations import timers
from scheduler.operations.settle import settle
from scheduler.operations.timers import Leases
from scheduler.operations.transaction import Transaction
from scheduler.rules.lifecycle import Lapse, Lease
from scheduler.store import dispatch
from scheduler.store.dispatch import HeldJob


def refill(transaction: Transaction, queues: Collection[tuple[str, str]], patience: int) -> None:
    """Publish again what queues held that were made anew.

    It is the same hand-over: a worker that has the job already may still end it. What runs has lost
    the message by which the broker watches its worker, so from now on the scheduler does.

    Args:
        transaction: what the broker confirmed since they were made is not noted yet.
        queues: type and channel of each.
        patience: milliseconds within which the worker of a running job must be heard.
    """
    for key in dispatch.queue_keys(transaction.connection, queues):
        unpublished, dropped = dispatch.unpublish(transaction.connection, key)
        transaction.effects.unpublished.update(unpublished)
        transaction.moves[key] -= dropped
        transaction.queues.add(key)
        running = dispatch.held(transaction.connection, key)
        transaction.load({job.key for job in running})
        for job in running:
            transaction.apply(job.key, Lease(job.handover, patience))


def lose(transaction: Transaction, jobs: Collection[HeldJob], leases: Leases) -> None:
    """Hand jobs out anew whose messages are lost; those of canceled ones lie nowhere any more."""
    transaction.load({job.key for job in jobs})
    problem = f"its messages or its workers were lost {leases.max_losses} times"
    for job in jobs:
        loaded = transaction.job(job.key)
        if loaded is not None and loaded.facts.state is State.CANCELED:
            transaction.drop(job.key)
        elif loaded is not None:
            lapse = Lapse(job.handover, leases.max_losses)
            timers.lose(transaction, loaded.facts, lapse, problem)
    settle(transaction)
