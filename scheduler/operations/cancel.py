"""Cancel: a job, all that depends on it, or a whole graph. What has ended stays as it is."""

from __future__ import annotations

from collections.abc import Collection

from broker_queue.errors import Invalid, NotExist
from broker_queue.job import FailureCode, State, Verdict
from broker_queue.protocol.messages import Cancel, CanceledJobs, Error
from scheduler.operations.settle import settle
from scheduler.operations.transaction import Transaction
from scheduler.rules import lifecycle
from scheduler.rules.submission import id_bytes, id_text
from scheduler.store import jobs, queries
from scheduler.store.jobs import LoadedJob

BATCH = 1_000


def cancel(transaction: Transaction, request: Cancel) -> CanceledJobs:
    """Cancel what the request names.

    Raises:
        NotExist: a job or graph that nobody enqueued.
        Invalid: nothing is named.
    """
    keys = _named(transaction, request)
    if request.dependents:
        keys = _with_dependents(transaction, keys)
    answer = CanceledJobs(canceled=0)
    error = None if not request.reason else Error(code=FailureCode.CANCELED, message=request.reason)
    for chunk in jobs.chunks(sorted(keys), BATCH):
        transaction.load(chunk)
        for key in chunk:
            _cancel_one(transaction, key, error, answer)
    settle(transaction)
    return answer


def find(transaction: Transaction, ids: Collection[str], field: str) -> list[LoadedJob]:
    """Return the jobs with these ids, in order.

    Raises:
        NotExist: there is no such job.
    """
    identities = [id_bytes(text, f"{field}[{i}]") for i, text in enumerate(ids)]
    found = jobs.load_by_id(transaction.connection, set(identities))
    for position, identity in enumerate(identities):
        if identity not in found:
            raise NotExist(
                f"{field}[{position}]: no job has the id {id_text(identity)}",
                {"field": f"{field}[{position}]", "jobs": [id_text(identity)]},
            )
    transaction.adopt(list(found.values()))
    return [found[identity] for identity in identities]


def graph_jobs(transaction: Transaction, graph: str, states: Collection[State]) -> list[int]:
    """Return the keys of a graph's jobs that are in one of these states.

    Raises:
        NotExist: there is no such graph.
    """
    key = queries.graph_key(transaction.connection, id_bytes(graph, "graph"))
    if key is None:
        raise NotExist(f"graph: no graph has the id {graph}", {"field": "graph"})
    return queries.graph_job_keys(transaction.connection, key, states)


def _named(transaction: Transaction, request: Cancel) -> set[int]:
    if not request.jobs and request.graph is None:
        raise Invalid("jobs: name at least one job, or a graph", {"field": "jobs"})
    keys = {job.facts.key for job in find(transaction, request.jobs, "jobs")}
    if request.graph is not None:
        open_states = [state for state in State if not state.is_final]
        keys.update(graph_jobs(transaction, request.graph, open_states))
    return keys


def _with_dependents(transaction: Transaction, keys: set[int]) -> set[int]:
    found = set(keys)
    border = list(keys)
    while border:
        following: set[int] = set()
        for chunk in jobs.chunks(border, BATCH):
            edges = jobs.load_edges(transaction.connection, chunk, 1 << 30)
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
