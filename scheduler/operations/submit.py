"""Submits: everything is checked first, then stored; a refused submit leaves nothing behind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from broker_queue.errors import Conflict, Invalid, NotExist, RequestError, TooLarge
from broker_queue.job import State
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import Extension, NewGraph, NewJob, Submit, Submitted
from scheduler.operations import extend
from scheduler.operations.settle import settle
from scheduler.operations.transaction import Transaction
from scheduler.rules.backoff import Backoff
from scheduler.rules.edges import weigh
from scheduler.rules.lifecycle import JobFacts, begin
from scheduler.rules.submission import (
    Plan,
    PlannedJob,
    Target,
    id_bytes,
    id_text,
    plan_submit,
)
from scheduler.store import jobs, submits
from scheduler.store.jobs import GraphRow, Identity, LoadedJob
from scheduler.store.submits import KnownJob, NewEdge, NewReference, NewRow

MAX_ASSEMBLED_BYTES = 256 << 20
"""All parts of one submit together; they are in memory at once while it is stored."""


@dataclass(slots=True)
class _Prepared:
    """A submit that can be stored: nothing in it can be refused any more."""

    plan: Plan
    known: dict[bytes, KnownJob]
    external: dict[bytes, LoadedJob]
    frontier: dict[int, int]
    extensions: list[extend.Prepared] = field(default_factory=list)


def submit(transaction: Transaction, request: Submit, body: bytes) -> Submitted:
    """Store a submit, or one part of it, and return the answer.

    Raises:
        RequestError: refused; nothing of it is stored.
    """
    if request.part > request.parts:
        raise Invalid(f"part: {request.part} is beyond parts ({request.parts})", {"field": "part"})
    if request.parts > 1:
        return _submit_part(transaction, request, body)
    return _submit_whole(transaction, request.jobs, request.extend, request.graph)


def add_dependencies(transaction: Transaction, extension: Extension, body: bytes) -> Submitted:
    """Add dependencies to one job: a submit of nothing else, whose errors name its own fields.

    Raises:
        RequestError: refused; nothing of it is stored.
    """
    try:
        return submit(transaction, Submit(extend=[extension]), body)
    except RequestError as error:
        raise _without(error, "extend[0].") from None


def take_bare(transaction: Transaction, request: NewJob | Submit, body: bytes) -> Submitted:
    """Store the job, or the submit, of a request without a type; the answer names the jobs.

    Raises:
        RequestError: refused; nothing of it is stored.
    """
    if isinstance(request, Submit):
        submitted, new = submit(transaction, request, body), request.jobs
    else:
        try:
            submitted, new = submit(transaction, Submit(jobs=[request]), body), [request]
        except RequestError as error:
            raise _without(error, "jobs[0].") from None
    submitted.ids = [id_text(id_bytes(job.id, "id")) for job in new]
    return submitted


def _without(error: RequestError, path: str) -> RequestError:
    """Return the error of a submit of one item, for who sent that item alone."""
    field = str(error.details.get("field", "")).removeprefix(path)
    details = {**error.details, "field": field} if field else error.details
    return type(error)(error.message.removeprefix(path), details)


def grow(
    transaction: Transaction,
    new: Sequence[NewJob],
    extensions: Sequence[Extension],
    graph: GraphRow | None,
) -> None:
    """Store new jobs, which belong to `graph`, and edges.

    Raises:
        RequestError: refused; nothing of it is stored.
    """
    plan = plan_submit(new, extensions, transaction.limits)
    _Storing(transaction, _prepare(transaction, plan), graph).store()
    settle(transaction)


def _submit_whole(
    transaction: Transaction,
    new: Sequence[NewJob],
    extensions: Sequence[Extension],
    graph: NewGraph | None,
) -> Submitted:
    plan = plan_submit(new, extensions, transaction.limits)
    graph_id = None if graph is None else id_bytes(graph.id, "graph.id")
    prepared = _prepare(transaction, plan)
    stored = None
    if graph is not None and graph_id is not None:
        key = submits.graph_key(transaction.connection, graph_id, graph.name, transaction.now)
        stored = GraphRow(key, graph_id)
    _Storing(transaction, prepared, stored).store()
    settle(transaction)
    return Submitted(
        jobs=len(plan.jobs),
        existed=len(prepared.known),
        graph=None if graph_id is None else id_text(graph_id),
    )


def _submit_part(transaction: Transaction, request: Submit, body: bytes) -> Submitted:
    if request.graph is None:
        raise Invalid("graph: a submit in parts needs a graph id", {"field": "graph"})
    graph_id = id_bytes(request.graph.id, "graph.id")
    stored = submits.store_part(
        transaction.connection,
        graph_id,
        number=request.part,
        parts=request.parts,
        body=body,
        now=transaction.now,
    )
    if stored.bytes > MAX_ASSEMBLED_BYTES:
        submits.forget_parts_of(transaction.connection, graph_id)
        raise TooLarge(
            f"the submit has {stored.bytes} bytes in its parts, the limit is {MAX_ASSEMBLED_BYTES}; "
            "submit several graphs, the later ones depending on jobs of the earlier",
            {"field": "parts", "size": stored.bytes, "limit": MAX_ASSEMBLED_BYTES},
        )
    if stored.parts < request.parts:
        return Submitted(jobs=len(request.jobs), graph=request.graph.id, complete=False)
    bodies = submits.take_parts(transaction.connection, graph_id)
    whole = [decode(text, Submit) for text in bodies]
    return _submit_whole(
        transaction,
        [job for piece in whole for job in piece.jobs],
        [extension for piece in whole for extension in piece.extend],
        request.graph,
    )


def _prepare(transaction: Transaction, plan: Plan) -> _Prepared:
    connection = transaction.connection
    known = submits.known_jobs(connection, [job.id for job in plan.jobs])
    _refuse_other_content(plan, known)
    plan.name_by_id(known)
    external = jobs.load_by_id(connection, plan.external | known.keys())
    _refuse_unknown(plan, external)
    ended = [job.facts.key for job in external.values() if job.facts.state.is_final]
    prepared = _Prepared(plan, known, external, jobs.frontier_of(connection, ended))
    prepared.extensions = extend.prepare(transaction, plan, external)
    return prepared


def _refuse_other_content(plan: Plan, known: dict[bytes, KnownJob]) -> None:
    for position, job in enumerate(plan.jobs):
        before = known.get(job.id)
        if before is not None and before.digest != job.digest:
            raise Conflict(
                f"jobs[{position}].id: {id_text(job.id)} was enqueued before with other content; "
                "use a new id for a new job",
                {"field": f"jobs[{position}].id", "job": id_text(job.id)},
            )


def _refuse_unknown(plan: Plan, external: dict[bytes, LoadedJob]) -> None:
    missing = [identity for identity in plan.external if identity not in external]
    if not missing:
        return
    field, first = next(
        (name, target)
        for name, targets in _named(plan)
        for target in targets
        if isinstance(target, bytes) and target in missing
    )
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    raise NotExist(
        f"{field}: no job has the id {id_text(first)}{more}; enqueue it first",
        {"field": field, "jobs": [id_text(identity) for identity in missing[:100]]},
    )


def _named(plan: Plan) -> Iterable[tuple[str, Collection[Target]]]:
    """Yield each field of the request that names jobs, with what it names."""
    for position, job in enumerate(plan.jobs):
        yield f"jobs[{position}].dependencies", job.dependencies
    for extension in plan.extensions:
        yield f"{extension.path}.job", (extension.id,)
        yield f"{extension.path}.dependencies", extension.dependencies


class _Storing:
    """Turns a prepared submit into rows."""

    def __init__(
        self,
        transaction: Transaction,
        prepared: _Prepared,
        graph: GraphRow | None,
    ) -> None:
        self._transaction = transaction
        self._prepared = prepared
        self._graph = graph
        self._keys: list[int] = []
        self._rows: list[NewRow] = []
        self._edges: list[NewEdge] = []
        self._references: list[NewReference] = []
        self._queues: dict[tuple[str, str], int] = {}

    def store(self) -> None:
        """Insert the new jobs, then extend the existing ones."""
        plan, known = self._prepared.plan, self._prepared.known
        connection = self._transaction.connection
        self._queues = submits.queue_keys(
            connection,
            {
                (job.spec.type, job.spec.channel): None
                for job in plan.jobs
                if job.spec.type is not None and job.id not in known
            },
        )
        following = submits.last_job_key(connection) + 1
        for job in plan.jobs:
            before = known.get(job.id)
            self._keys.append(before.key if before else following)
            following += before is None
        for position, job in enumerate(plan.jobs):
            if job.id not in known:
                self._add(self._keys[position], job)
        submits.insert_jobs(connection, self._rows, self._transaction.now)
        submits.insert_edges(connection, self._edges)
        submits.insert_references(connection, self._references)
        for extension in self._prepared.extensions:
            extend.perform(self._transaction, extension, self.standing)

    def standing(self, target: Target, child_key: int) -> extend.Parent:
        """Return the key and state under which an edge from `child_key` to `target` starts.

        The state of a job that ended, but whose dependents are still being told, counts as open
        for those that the telling has yet to reach: it will settle the new edge too.
        """
        known = self._prepared.known
        if isinstance(target, int):
            planned = self._prepared.plan.jobs[target]
            if not known or planned.id not in known:
                return extend.Parent(self._keys[target], State.WAITING)
            target = planned.id
        facts = self._prepared.external[target].facts
        told = self._prepared.frontier.get(facts.key)
        if told is not None and child_key > told:
            return extend.Parent(facts.key, State.WAITING)
        return extend.Parent(facts.key, facts.state)

    def _add(self, key: int, planned: PlannedJob) -> None:
        parents: dict[Target, int] = {}
        standings = []
        for position, (target, condition) in enumerate(planned.dependencies.items()):
            parent_key, state = self.standing(target, key)
            parents[target] = parent_key
            self._edges.append(NewEdge(key, parent_key, position, condition))
            standings.append((parent_key, condition, state))
        for position, reference in enumerate(planned.references):
            self._references.append(
                NewReference(
                    key, position, parents[reference.target], reference.at, reference.pointer
                )
            )
        now = self._transaction.now
        facts = begin(self._new_facts(key, planned.spec), weigh(standings), now)
        self._rows.append(
            NewRow(
                facts=facts,
                id=planned.id,
                spec=planned.spec,
                args=bytes(planned.spec.args),
                digest=planned.digest,
                graph_key=None if self._graph is None else self._graph.key,
                dependency_count=len(planned.dependencies),
                reference_count=len(planned.references),
            )
        )
        self._announce(facts, planned)

    def _new_facts(self, key: int, spec: NewJob) -> JobFacts:
        now = self._transaction.now
        available_at = spec.available_at
        if spec.delay is not None:
            available_at = now + round(spec.delay * 1000)
        queue_key = None if spec.type is None else self._queues[spec.type, spec.channel]
        return JobFacts(
            key=key,
            state=State.WAITING,
            max_attempts=spec.max_attempts,
            queue_key=queue_key,
            available_at=available_at,
            timeout=None if spec.timeout is None else max(1, round(spec.timeout * 1000)),
            backoff=_backoff(spec),
        )

    def _announce(self, facts: JobFacts, planned: PlannedJob) -> None:
        spec = planned.spec
        identity = Identity(planned.id, spec.type, spec.channel, spec.name, self._graph)
        loaded = LoadedJob(facts, identity)
        self._transaction.note(loaded)
        if facts.state.is_final:
            self._transaction.adopt([loaded])
        if facts.state is State.QUEUED and facts.queue_key is not None:
            self._transaction.queues.add(facts.queue_key)


def _backoff(spec: NewJob) -> Backoff | None:
    given = spec.backoff
    if given is None:
        return None
    return Backoff(
        initial=round(given.initial * 1000),
        factor=given.factor,
        maximum=round(given.maximum * 1000),
        jitter=given.jitter,
    )
