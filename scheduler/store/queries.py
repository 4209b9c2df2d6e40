"""What can be asked: status, lists, counts. Nothing here writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from sqlalchemy import (
    Connection,
    Select,
    Subquery,
    TextClause,
    bindparam,
    case,
    func,
    literal,
    select,
    tuple_,
)

from broker_queue.job import FINAL_STATES, Condition, State
from broker_queue.protocol import messages
from scheduler.rules.explain import OpenDependency
from scheduler.rules.submission import id_text
from scheduler.store.jobs import chunks
from scheduler.store.statements import blobs, fetch, fetch_by_id, is_one_of, key_list, pause
from scheduler.store.tables import (
    IN_LINE,
    LYING,
    TROUBLE,
    TROUBLE_STATES,
    args,
    edge,
    graph,
    job,
    outcome,
    progress,
    queue,
)

MAX_ANSWER_BYTES = 8 << 20
"""Half of what RabbitMQ 4 lets a message have; a page of an answer stops before it."""

DEPENDENCIES_AT_ONCE = 5_000
"""Some milliseconds, for which others wait."""

MAX_ANSWER_JOBS = 2_000

_cause = job.alias("cause")
_retry_of = job.alias("retry_of")
_retried_as = job.alias("retried_as")

_STATUS = (
    select(
        job,
        queue.c.type,
        queue.c.channel,
        graph.c.id.label("graph_id"),
        outcome.c.result,
        outcome.c.error,
        progress.c.text.label("progress"),
        _cause.c.id.label("cause_id"),
        _retry_of.c.id.label("retry_of_id"),
        _retried_as.c.id.label("retried_as_id"),
    )
    .outerjoin_from(job, queue, queue.c.key == job.c.queue_key)
    .outerjoin(graph, graph.c.key == job.c.graph_key)
    .outerjoin(outcome, outcome.c.job_key == job.c.key)
    .outerjoin(progress, progress.c.job_key == job.c.key)
    .outerjoin(_cause, _cause.c.key == job.c.cause_key)
    .outerjoin(_retry_of, _retry_of.c.key == job.c.retry_of_key)
    .outerjoin(_retried_as, _retried_as.c.key == job.c.retried_as_key)
)
_STATUS_BY_KEY = _STATUS.where(is_one_of(job.c.key, "keys"))
_KEYS = select(job.c.id, job.c.key).where(job.c.id.in_(blobs("ids")))
_STATES = select(job.c.id, job.c.state).where(job.c.id.in_(blobs("ids")))
_ARGS = select(args.c.job_key, args.c.text).where(is_one_of(args.c.job_key, "keys"))
_parent = job.alias("parent")
_hex = func.hex(_parent.c.id)
_DEPENDENCY_TEXT = func.lower(
    func.printf(
        '{"job":"%s-%s-%s-%s-%s","state":"%s","condition":"%s"}',
        func.substr(_hex, 1, 8),
        func.substr(_hex, 9, 4),
        func.substr(_hex, 13, 4),
        func.substr(_hex, 17, 4),
        func.substr(_hex, 21),
        _parent.c.state,
        edge.c.condition,
    )
)
"""A `messages.DependencyStatus`. There may be 100,000 of them, and an object for each would hold up
the event loop for a second."""
_DEPENDENCIES = (
    select(edge.c.child_key, _DEPENDENCY_TEXT)
    .join_from(edge, _parent, _parent.c.key == edge.c.parent_key)
    .where(is_one_of(edge.c.child_key, "children"))
    .order_by(edge.c.child_key, edge.c.position)
)
_PARENT_KEYS = select(edge.c.child_key, edge.c.parent_key).where(
    is_one_of(edge.c.child_key, "children")
)


_way = select(bindparam("start").label("key"), literal(0).label("steps")).cte("way", recursive=True)
_first_open = (
    select(edge.c.parent_key)
    .join_from(edge, _parent, _parent.c.key == edge.c.parent_key)
    .where(edge.c.child_key == _way.c.key, _parent.c.finished_at.is_(None))
    .order_by(edge.c.position)
    .limit(1)
    .correlate(_way)
    .scalar_subquery()
)
_way = _way.union_all(
    select(
        case((job.c.state == State.SKIPPED.value, job.c.cause_key), else_=_first_open),
        _way.c.steps + 1,
    )
    .join_from(_way, job, job.c.key == _way.c.key)
    .where(
        job.c.state.in_([State.WAITING.value, State.SKIPPED.value]),
        _way.c.steps < bindparam("limit"),
    )
)
_END_OF_WAY = (
    select(_way.c.key).where(_way.c.key.is_not(None)).order_by(_way.c.steps.desc()).limit(1)
)


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says of each job beyond its state."""

    dependencies: bool = True
    args: bool = False
    result: bool = True


def keys_of(connection: Connection, ids: Sequence[bytes]) -> dict[bytes, int]:
    """Return the keys of the jobs with these ids; unknown ones are missing."""
    return dict(fetch_by_id(connection, _KEYS, ids))


def states_of(connection: Connection, ids: Sequence[bytes]) -> dict[bytes, State]:
    """Return the states of the jobs with these ids; unknown ones are missing."""
    return {identity: State(state) for identity, state in fetch_by_id(connection, _STATES, ids)}


def status_page(
    connection: Connection, keys: Sequence[int], detail: Detail
) -> tuple[list[messages.JobStatus], list[int]]:
    """Return the status of jobs in the order given, and the keys that did not fit the page."""
    found: list[messages.JobStatus] = []
    size = 0
    for chunk in chunks(keys, 100):
        loaded = _load_statuses(connection, chunk, detail)
        for key in chunk:
            if found and (size > MAX_ANSWER_BYTES or len(found) >= MAX_ANSWER_JOBS):
                return found, list(keys[len(found) :])
            status = loaded[key]
            size += _size(status)
            found.append(status)
    return found, []


def with_ancestors(connection: Connection, keys: Iterable[int], limit: int) -> list[int]:
    """Return `keys` and all that they depend on, nearest first, about `limit` at most."""
    ordered = dict.fromkeys(keys)
    border: Collection[int] = list(ordered)
    while border and len(ordered) < limit:
        parents: dict[int, None] = {}
        for row in connection.execute(_PARENT_KEYS, {"children": key_list(border)}):
            if row.parent_key not in ordered:
                parents[row.parent_key] = None
        ordered.update(parents)
        border = parents
    return list(ordered)


def list_jobs(
    connection: Connection, request: messages.ListJobs, graph_key: int | None
) -> list[int]:
    """Return the keys of the jobs that match, newest first, one more than the limit."""
    statement: Select[int] = select(job.c.key)
    if request.type is not None or request.channel is not None:
        statement = statement.join(queue, queue.c.key == job.c.queue_key)
    if request.type is not None:
        statement = statement.where(queue.c.type == request.type)
    if request.channel is not None:
        statement = statement.where(queue.c.channel == request.channel)
    if graph_key is not None:
        statement = statement.where(job.c.graph_key == graph_key)
    if request.states:
        statement = statement.where(job.c.state.in_([state.value for state in request.states]))
        if TROUBLE_STATES.issuperset(request.states):
            statement = statement.where(TROUBLE)  # says nothing new, but names a partial index
    if request.name is not None:
        statement = statement.where(job.c.name == request.name)
    if request.before is not None:
        statement = statement.where(job.c.key < request.before)
    statement = statement.order_by(job.c.key.desc()).limit(request.limit + 1)
    return list(connection.execute(statement).scalars())


def graph_key(connection: Connection, identity: bytes) -> int | None:
    """Return the key of a graph."""
    return connection.execute(
        select(graph.c.key).where(graph.c.id == identity)
    ).scalar_one_or_none()


def graph_status(connection: Connection, key: int) -> messages.GraphStatus:
    """Return how many jobs of a graph are in which state, by type."""
    row = connection.execute(select(graph).where(graph.c.key == key)).one()
    counts = connection.execute(
        select(queue.c.type, job.c.state, func.count(), func.max(job.c.finished_at))
        .outerjoin_from(job, queue, queue.c.key == job.c.queue_key)
        .where(job.c.graph_key == key)
        .group_by(queue.c.type, job.c.state)
        .order_by(func.min(job.c.key))
    ).all()
    is_over = all(State(state) in FINAL_STATES for _, state, _, _ in counts)
    last = max((finished for *_, finished in counts if finished is not None), default=None)
    return messages.GraphStatus(
        id=id_text(row.id),
        name=row.name,
        queued=row.queued_at,
        counts=[
            messages.TypeCount(type=job_type, state=State(state), jobs=count)
            for job_type, state, count, _ in counts
        ],
        finished=last if is_over else None,
    )


def list_graphs(connection: Connection, limit: int, before: int | None) -> list[int]:
    """Return the keys of graphs, newest first, one more than the limit."""
    statement = select(graph.c.key)
    if before is not None:
        statement = statement.where(graph.c.key < before)
    return list(
        connection.execute(statement.order_by(graph.c.key.desc()).limit(limit + 1)).scalars()
    )


def job_counts(connection: Connection) -> dict[str, int]:
    """Return how many jobs are in each state; reads every row."""
    rows = connection.execute(select(job.c.state, func.count()).group_by(job.c.state))
    counted: dict[str, int] = dict(iter(rows))
    return {state.value: counted.get(state.value, 0) for state in State}


class QueueLine(NamedTuple):
    """How many jobs a queue has."""

    type: str
    channel: str
    in_line: int = 0
    handed_out: int = 0
    """Without the canceled ones: nobody is to run them."""
    canceled: int = 0
    """Canceled jobs whose messages still lie in the queue, or are with a worker."""


def queue_lines(connection: Connection) -> list[QueueLine]:
    """Return the counts of each queue whose type had a job."""
    in_line, lying = _counted(IN_LINE), _counted(LYING)
    rows = connection.execute(
        select(
            queue.c.type,
            queue.c.channel,
            func.coalesce(in_line.c.jobs, 0),
            queue.c.handed_out - func.coalesce(lying.c.jobs, 0),
            func.coalesce(lying.c.jobs, 0),
        )
        .outerjoin_from(queue, in_line, in_line.c.queue_key == queue.c.key)
        .outerjoin(lying, lying.c.queue_key == queue.c.key)
    )
    return [QueueLine._make(row) for row in rows]


def _counted(which: TextClause) -> Subquery:
    """Count jobs by queue."""
    return (
        select(job.c.queue_key, func.count().label("jobs"))
        .where(which)
        .group_by(job.c.queue_key)
        .subquery()
    )


def open_dependencies(
    connection: Connection, child: int, limit: int
) -> tuple[list[tuple[int, OpenDependency]], int]:
    """Return a job's dependencies that have not ended, by key, and how many there are."""
    statement = (
        select(_parent.c.key, _parent.c.id, _parent.c.state, edge.c.condition, _parent.c.name)
        .join_from(edge, _parent, _parent.c.key == edge.c.parent_key)
        .where(edge.c.child_key == bindparam("child"), _parent.c.finished_at.is_(None))
        .order_by(edge.c.position)
    )
    rows = connection.execute(statement.limit(limit), {"child": child}).all()
    count = len(rows)
    if count == limit:
        counting = select(func.count()).select_from(statement.order_by(None).subquery())
        count = connection.execute(counting, {"child": child}).scalar_one()
    return [(key, _dependency(*columns)) for key, *columns in rows], count


def _load_statuses(
    connection: Connection, keys: Sequence[int], detail: Detail
) -> dict[int, messages.JobStatus]:
    rows = connection.execute(_STATUS_BY_KEY, {"keys": key_list(keys)}).all()
    found = {row.key: _status(row, with_result=detail.result) for row in rows}
    if detail.args:
        for status in found.values():
            status.args = msgspec.Raw(b"null")
        for key, text in connection.execute(_ARGS, {"keys": key_list(keys)}):
            found[key].args = msgspec.Raw(text)
    if detail.dependencies:
        listed: dict[int, list[str]] = {key: [] for key in found}
        children = [key for key, status in found.items() if status.dependency_count]
        if children:
            texts = fetch(connection, _DEPENDENCIES, children=key_list(children))
            for chunk in chunks(texts, DEPENDENCIES_AT_ONCE):
                for child, text in chunk:
                    listed[child].append(text)
                pause(connection)
        for key, status in found.items():
            status.dependencies = cast(Any, msgspec.Raw(f"[{','.join(listed[key])}]".encode()))
    return found


def _status(row: Any, *, with_result: bool) -> messages.JobStatus:
    status = messages.JobStatus(
        id=id_text(row.id),
        state=State(row.state),
        queued=row.queued_at,
        type=row.type,
        name=row.name,
        channel=row.channel or "",
        graph=None if row.graph_id is None else id_text(row.graph_id),
        ready=row.ready_at,
        started=row.started_at,
        finished=row.finished_at,
        available_at=row.available_at,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        priority=row.priority,
        timeout=None if row.timeout is None else row.timeout / 1000,
        worker=row.worker,
        dependency_count=row.dependency_count,
        skipped_because=_id_or_none(row.cause_id),
        retry_of=_id_or_none(row.retry_of_id),
        retried_as=_id_or_none(row.retried_as_id),
    )
    if row.error is not None:
        status.error = msgspec.json.decode(row.error, type=messages.Error)
    if row.progress is not None:
        status.progress = msgspec.json.decode(row.progress, type=messages.Progress)
    if with_result and row.result is not None:
        status.result = msgspec.Raw(row.result)
    return status


def _dependency(identity: bytes, state: str, condition: str, name: str | None) -> OpenDependency:
    return OpenDependency(
        job=id_text(identity), state=State(state), condition=Condition(condition), name=name
    )


def _id_or_none(identity: bytes | None) -> str | None:
    return None if identity is None else id_text(identity)


def _size(status: messages.JobStatus) -> int:
    size = 600
    told = (
        status.dependencies,
        status.args,
        status.result,
        status.error and status.error.details,
        status.progress and status.progress.data,
    )
    size += sum(len(bytes(text)) for text in told if isinstance(text, msgspec.Raw))
    return size + (len(status.error.message) if status.error else 0)


def args_of(connection: Connection, key: int) -> bytes:
    """Return a job's args as JSON text."""
    text = connection.execute(select(args.c.text).where(args.c.job_key == key)).scalar_one_or_none()
    return b"null" if text is None else text


def graph_job_keys(connection: Connection, graph_key: int, states: Collection[State]) -> list[int]:
    """Return the keys of a graph's jobs that are in one of these states."""
    statement = select(job.c.key).where(
        job.c.graph_key == graph_key, job.c.state.in_([state.value for state in states])
    )
    return list(connection.execute(statement.order_by(job.c.key)).scalars())


def retried_as(connection: Connection, keys: Collection[int]) -> dict[int, bytes]:
    """Return the ids of the copies of those jobs that were retried."""
    statement = (
        select(job.c.key, _retried_as.c.id)
        .join_from(job, _retried_as, _retried_as.c.key == job.c.retried_as_key)
        .where(is_one_of(job.c.key, "keys"))
    )
    rows = connection.execute(statement, {"keys": key_list(keys)}).all()
    return {row.key: row.id for row in rows}


def retried_as_keys(connection: Connection, keys: Collection[int]) -> dict[int, int]:
    """Return the keys of the copies of those jobs that were retried."""
    statement = select(job.c.key, job.c.retried_as_key).where(
        is_one_of(job.c.key, "keys"), job.c.retried_as_key.is_not(None)
    )
    rows = connection.execute(statement, {"keys": key_list(keys)}).all()
    return {row.key: row.retried_as_key for row in rows}


class Place(NamedTuple):
    """Where a queued job stands."""

    is_handed_out: bool
    ahead: int


def ids_of(connection: Connection, keys: Sequence[int]) -> list[str]:
    """Return the ids of jobs, in the order given."""
    if not keys:
        return []
    statement = select(job.c.key, job.c.id).where(is_one_of(job.c.key, "keys"))
    rows = connection.execute(statement, {"keys": key_list(keys)}).all()
    found = {row.key: id_text(row.id) for row in rows}
    return [found[key] for key in keys]


def end_of_way(connection: Connection, key: int, limit: int) -> int:
    """Return the last job on the way to a root cause, after at most `limit` jobs.

    From a waiting job the way leads to its first dependency that has not ended, from a skipped one
    to the job because of which it was skipped.
    """
    return int(connection.execute(_END_OF_WAY, {"start": key, "limit": limit}).scalar_one())


def cause_of(connection: Connection, key: int) -> int | None:
    """Return the key of the job because of which this one was skipped."""
    row = connection.execute(select(job.c.cause_key).where(job.c.key == key)).one()
    return row.cause_key if row.cause_key is None else int(row.cause_key)


def due_at(connection: Connection, key: int) -> int | None:
    """Return when the timer acts on a job."""
    row = connection.execute(select(job.c.due_at).where(job.c.key == key)).one()
    return row.due_at if row.due_at is None else int(row.due_at)


def place_in_line(connection: Connection, key: int) -> Place:
    """Return whether a job was handed out, and how many of its queue are before it in line."""
    row = connection.execute(
        select(job.c.dispatch, job.c.priority, job.c.queue_key).where(job.c.key == key)
    ).one()
    if row.dispatch:
        return Place(True, 0)
    ahead = connection.execute(
        select(func.count()).where(
            job.c.queue_key == row.queue_key,
            IN_LINE,
            tuple_(-job.c.priority, job.c.key) < tuple_(-row.priority, key),
        )
    ).scalar_one()
    return Place(False, ahead)
