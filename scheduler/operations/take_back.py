"""Jobs taken back from a broker and workers that are to be forgotten, since a copy was restored."""

from __future__ import annotations

from broker_queue.job import State
from scheduler.operations.transaction import Transaction
from scheduler.rules.lifecycle import HandBack
from scheduler.store import dispatch, jobs

BATCH = 1_000


def take_back(transaction: Transaction) -> int:
    """Put in line once more all that is with the broker or with a worker; return how many jobs.

    It is no attempt: a worker may have run them, or not. Canceled jobs lie in no queue any more.
    """
    count = 0
    for chunk in jobs.chunks(dispatch.handed_out(transaction.connection), BATCH):
        transaction.load(chunk)
        for key in chunk:
            facts = transaction.facts(key)
            if facts.state is State.CANCELED:
                transaction.drop(key)
            else:
                transaction.apply(key, HandBack(facts.handover))
                count += 1
        transaction.flush()
    transaction.flush_moves()
    return count
