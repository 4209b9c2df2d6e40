"""Cancel: a job, all that depends on it, or a whole graph. What has ended stays as it is.

A scheduler may die after it has committed a cancel and before it has told the workers. Whoever asked
has no answer then, and the request comes again; so a cancel also tells the workers once more of jobs
that were canceled before.
"""

from __future__ import annotations

from broker_queue.errors import Invalid
from broker_queue.job import FailureCode, State, Verdict
from broker_queue.protocol.messages import Cancel, CanceledJobs, Error
from scheduler.operations.finding import find_graph_jobs, find_jobs
from scheduler.operations.settle import settle
from scheduler.operations.transaction import Transaction
from scheduler.rules import lifecycle
from scheduler.store import jobs

BATCH = 1_000


def cancel(transaction: Transaction, request: Cancel) -> CanceledJobs:
    """Cancel what the request names.

    Raises:
        NotExist: a job or graph that nobody enqueued.
        Invalid: nothing is named.
    """
    keys = _named(transaction, request)
    before = _canceled_in_graph(transaction, request)
    if request.dependents:
        keys = _with_dependents(transaction, keys)
    answer = CanceledJobs(canceled=0)
    error = None if not request.reason else Error(code=FailureCode.CANCELED, message=request.reason)
    for chunk in jobs.chunks(sorted(keys), BATCH):
        transaction.load(chunk)
        for key in chunk:
            _cancel_one(transaction, key, error, answer)
    for chunk in jobs.chunks(before, BATCH):
        transaction.load(chunk)
        for key in chunk:
            transaction.revoke_again(key)
    settle(transaction)
    return answer


def _named(transaction: Transaction, request: Cancel) -> set[int]:
    if not request.jobs and request.graph is None:
        raise Invalid("jobs: name at least one job, or a graph", {"field": "jobs"})
    keys = {job.facts.key for job in find_jobs(transaction, request.jobs, "jobs")}
    if request.graph is not None:
        open_states = [state for state in State if not state.is_final]
        keys.update(find_graph_jobs(transaction, request.graph, open_states))
    return keys


def _canceled_in_graph(transaction: Transaction, request: Cancel) -> list[int]:
    if request.graph is None:
        return []
    return find_graph_jobs(transaction, request.graph, [State.CANCELED])


def _with_dependents(transaction: Transaction, keys: set[int]) -> set[int]:
    found = set(keys)
    border = list(keys)
    while border:
        following: set[int] = set()
        for chunk in jobs.chunks(border, BATCH):
            edges = jobs.load_edges(transaction.connection, chunk)
            following.update(edge.child_key for edge in edges)
        border = list(following - found)
        found |= following
    return found


def _cancel_one(
    transaction: Transaction, key: int, error: Error | None, answer: CanceledJobs
) -> None:
    before = transaction.facts(key)
    verdict = transaction.apply(key, lifecycle.Cancel(), error=error)
    if verdict is Verdict.ACCEPTED:
        answer.canceled += 1
        answer.running += before.state is State.RUNNING
    else:
        answer.already_final += 1
        transaction.revoke_again(key)
