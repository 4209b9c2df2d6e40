"""Jobs and graphs by their ids, and the errors where there are none."""

from __future__ import annotations

from collections.abc import Collection

from broker_queue.errors import NotExist
from broker_queue.job import State
from scheduler.operations.transaction import Transaction
from scheduler.rules.submission import id_bytes, id_text
from scheduler.store import jobs, queries
from scheduler.store.jobs import LoadedJob


def find_jobs(transaction: Transaction, ids: Collection[str], field: str) -> list[LoadedJob]:
    """Return the jobs with these ids, in order.

    Raises:
        NotExist: there is no such job.
    """
    identities = [id_bytes(text, f"{field}[{i}]") for i, text in enumerate(ids)]
    found = jobs.load_by_id(transaction.connection, set(identities))
    for position, identity in enumerate(identities):
        if identity not in found:
            raise no_job(f"{field}[{position}]", identity)
    transaction.adopt(list(found.values()))
    return [found[identity] for identity in identities]


def find_graph_jobs(transaction: Transaction, graph: str, states: Collection[State]) -> list[int]:
    """Return the keys of a graph's jobs that are in one of these states.

    Raises:
        NotExist: there is no such graph.
    """
    identity = id_bytes(graph, "graph")
    key = queries.graph_key(transaction.connection, identity)
    if key is None:
        raise no_graph(identity)
    return queries.graph_job_keys(transaction.connection, key, states)


def no_job(field: str, identity: bytes) -> NotExist:
    """Return the error for an id that no job has; `field` is where the request names it."""
    text = id_text(identity)
    return NotExist(f"{field}: no job has the id {text}", {"field": field, "jobs": [text]})


def no_graph(identity: bytes) -> NotExist:
    """Return the error for an id that no graph has."""
    return NotExist(f"graph: no graph has the id {id_text(identity)}", {"field": "graph"})
