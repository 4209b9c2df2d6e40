"""Retry by hand: copies of what failed and of what was held back by it.

No final job is opened again. What the copies depend on is decided in `scheduler.rules.inheritance`;
each is linked with its original both ways. A job that was retried before answers with the copy that
exists, so a repeated request changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from broker_queue.errors import Conflict, Invalid
from broker_queue.graph import new_job_id
from broker_queue.job import Condition, State
from broker_queue.protocol.messages import NewJob, RetriedJob, Retry
from broker_queue.protocol.messages import Retried as Answer
from scheduler.operations.finding import find_graph_jobs, find_jobs
from scheduler.operations.settle import settle
from scheduler.operations.transaction import Transaction
from scheduler.rules.edges import weigh
from scheduler.rules.inheritance import Inherited, inherit
from scheduler.rules.lifecycle import JobFacts, begin
from scheduler.rules.submission import id_bytes, id_text
from scheduler.store import jobs, queries, submits
from scheduler.store.jobs import LoadedJob
from scheduler.store.submits import NewEdge, NewReference, NewRow

RETRIABLE = (State.FAILED, State.CANCELED)


def retry(transaction: Transaction, request: Retry) -> Answer:
    """Enqueue copies of failed or canceled jobs and of all that was skipped because of them.

    Raises:
        NotExist: a job or graph that nobody enqueued.
        Conflict: a job that did not fail.
        Invalid: nothing is named.
    """
    originals = _with_skipped(transaction, _roots(transaction, request))
    before = queries.retried_as(transaction.connection, originals)
    fresh = [key for key in sorted(originals) if key not in before]
    copies = _Copying(transaction, fresh).store()
    settle(transaction)
    return Answer(
        jobs=[
            RetriedJob(job=id_text(_id(transaction, key)), retried_as=id_text(copy))
            for key, copy in sorted({**before, **copies}.items())
        ]
    )


def _roots(transaction: Transaction, request: Retry) -> list[int]:
    if not request.jobs and request.graph is None:
        raise Invalid("jobs: name at least one job, or a graph", {"field": "jobs"})
    found = find_jobs(transaction, request.jobs, "jobs")
    for job in found:
        if job.facts.state not in RETRIABLE:
            raise _not_retriable(transaction, job)
    keys = [job.facts.key for job in found]
    if request.graph is not None:
        in_graph = find_graph_jobs(transaction, request.graph, RETRIABLE)
        if not in_graph and not keys:
            raise Conflict(
                "graph: none of its jobs failed or was canceled; there is nothing to retry",
                {"field": "graph"},
            )
        keys += in_graph
    return list(dict.fromkeys(keys))


def _not_retriable(transaction: Transaction, job: LoadedJob) -> Conflict:
    identity, state = id_text(job.identity.id), job.facts.state
    if state is not State.SKIPPED:
        return Conflict(
            f"job {identity} is {state}; only failed and canceled jobs can be retried",
            {"job": identity, "state": state.value},
        )
    cause = job
    while cause.facts.cause_key is not None:
        transaction.load([cause.facts.cause_key])
        parent = transaction.job(cause.facts.cause_key)
        if parent is None:
            break
        cause = parent
    root = id_text(cause.identity.id)
    return Conflict(
        f"job {identity} was skipped because of job {root} ({cause.facts.state}); retry that one "
        "and this one comes with it",
        {"job": identity, "state": state.value, "because": root},
    )


def _with_skipped(transaction: Transaction, roots: Collection[int]) -> list[int]:
    """Return the roots and all that was skipped because of them, in turn."""
    found = dict.fromkeys(roots)
    transaction.load(roots)
    border: Collection[int] = roots
    while border:
        following: list[int] = []
        for chunk in jobs.chunks(list(border), 1_000):
            edges = jobs.load_edges(transaction.connection, chunk)
            transaction.load({edge.child_key for edge in edges})
            for child in dict.fromkeys(edge.child_key for edge in edges):
                facts = transaction.facts(child)
                skipped = facts.state is State.SKIPPED and facts.cause_key in found
                if skipped and child not in found:
                    found[child] = None
                    following.append(child)
        border = following
    return list(found)


def _id(transaction: Transaction, key: int) -> bytes:
    job = transaction.job(key)
    return b"" if job is None else job.identity.id


class _Copying:
    """Copies jobs with their edges and references."""

    def __init__(self, transaction: Transaction, originals: Collection[int]) -> None:
        connection = transaction.connection
        self._transaction = transaction
        self._originals = list(originals)
        self._edges = submits.load_edges_of(connection, originals)
        self._references = submits.load_references_of(connection, originals)
        self._rows = submits.load_options(connection, originals)
        first = submits.last_job_key(connection) + 1
        self._copies = {key: first + index for index, key in enumerate(self._originals)}
        parents = {edge.parent_key for edges in self._edges.values() for edge in edges}
        self._latest = self._latest_of(parents)
        known = parents | set(self._latest.values())
        transaction.load(known)
        self._frontier = jobs.frontier_of(connection, known)

    def store(self) -> dict[int, bytes]:
        """Insert the copies and return their ids by the key of their original."""
        rows: list[NewRow] = []
        edges: list[NewEdge] = []
        references: list[NewReference] = []
        for original, inherited in self._inherit().items():
            key = self._copies[original]
            mine = [
                NewEdge(key, parent, position, condition)
                for position, (parent, condition) in enumerate(inherited.conditions.items())
            ]
            edges += mine
            references += [
                item._replace(child_key=key, parent_key=inherited.successors[item.parent_key])
                for item in self._references.get(original, ())
            ]
            rows.append(self._copy(original, key, mine))
        connection = self._transaction.connection
        submits.insert_jobs(connection, rows, self._transaction.now)
        submits.insert_edges(connection, edges)
        submits.insert_references(connection, references)
        jobs.link_retry(connection, self._copies)
        for original, row in zip(self._originals, rows, strict=True):
            self._announce(original, row)
        return {original: row.id for original, row in zip(self._originals, rows, strict=True)}

    def _inherit(self) -> dict[int, Inherited]:
        dependencies = {
            original: [
                (edge.parent_key, edge.condition, self._transaction.facts(edge.parent_key).state)
                for edge in self._edges.get(original, ())
            ]
            for original in self._copies
        }
        return inherit(dependencies, self._copies, self._latest)

    def _latest_of(self, keys: Collection[int]) -> dict[int, int]:
        """Return the latest copy of each job that was retried."""
        connection = self._transaction.connection
        latest = queries.retried_as_keys(connection, keys)
        while again := queries.retried_as_keys(connection, set(latest.values())):
            latest = {key: again.get(last, last) for key, last in latest.items()}
        return latest

    def _copy(self, original: int, key: int, edges: list[NewEdge]) -> NewRow:
        facts = self._transaction.facts(original)
        options = self._rows[original]
        copy = JobFacts(
            key=key,
            state=State.WAITING,
            max_attempts=facts.max_attempts,
            queue_key=facts.queue_key,
            timeout=facts.timeout,
            backoff=facts.backoff,
        )
        identity = id_bytes(new_job_id(), "id")
        return NewRow(
            facts=begin(
                copy, weigh(self._standing(key, edge) for edge in edges), self._transaction.now
            ),
            id=identity,
            spec=NewJob(
                id=id_text(identity),
                name=options.name,
                priority=options.priority,
                traceparent=options.traceparent,
            ),
            args=options.args,
            digest=options.digest,
            graph_key=options.graph_key,
            dependency_count=len(edges),
            reference_count=options.reference_count,
            retry_of_key=original,
        )

    def _standing(self, key: int, edge: NewEdge) -> tuple[int, Condition, State]:
        parent = self._transaction.job(edge.parent_key)
        told = self._frontier.get(edge.parent_key)
        is_open = parent is None or (told is not None and key > told)
        state = State.WAITING if parent is None or is_open else parent.facts.state
        return edge.parent_key, edge.condition, state

    def _announce(self, original: int, row: NewRow) -> None:
        before = self._transaction.job(original)
        if before is None:
            return
        copy = LoadedJob(row.facts, before.identity._replace(id=row.id))
        self._transaction.note(copy)
        self._transaction.adopt([copy])
        if row.facts.state is State.QUEUED and row.facts.queue_key is not None:
            self._transaction.queues.add(row.facts.queue_key)
