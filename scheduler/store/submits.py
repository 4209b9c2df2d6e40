"""Storing what a submit brings: graphs, queues, jobs, edges, references, parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from broker_queue.job import Condition
from broker_queue.protocol.messages import NewJob
from scheduler.rules.lifecycle import JobFacts
from scheduler.store.statements import (
    blobs,
    change_many,
    fetch,
    fetch_by_id,
    insert_rows,
    is_one_of,
    key_list,
)
from scheduler.store.tables import args, edge, graph, job, part, queue, reference


class KnownJob(NamedTuple):
    """A job that was submitted before."""

    key: int
    digest: bytes


class NewRow(NamedTuple):
    """A job to be inserted."""

    facts: JobFacts
    id: bytes
    spec: NewJob
    args: bytes
    digest: bytes
    graph_key: int | None
    dependency_count: int
    reference_count: int
    retry_of_key: int | None = None


class NewEdge(NamedTuple):
    """An edge to be inserted."""

    child_key: int
    parent_key: int
    position: int
    condition: Condition


class NewReference(NamedTuple):
    """A result reference to be inserted."""

    child_key: int
    position: int
    parent_key: int
    place: str
    pointer: str


_CONDITION_TEXTS = {condition: condition.value for condition in Condition}
"""The driver takes three times as long for a string that is an enum's member."""
_KNOWN = select(job.c.id, job.c.key, job.c.digest).where(job.c.id.in_(blobs("ids")))
_INSERT_JOB = insert(job)
_INSERT_ARGS = insert(args)
_INSERT_EDGE = insert(edge)
_INSERT_REFERENCE = insert(reference)
_INSERT_GRAPH = insert(graph).returning(graph.c.key)
_INSERT_QUEUE = insert(queue).returning(queue.c.key)
_LAST_KEY = select(func.coalesce(func.max(job.c.key), 0))
_QUEUE_KEY = select(queue.c.key).where(
    queue.c.type == bindparam("type"), queue.c.channel == bindparam("channel")
)
_COUNT_DEPENDENCIES = (
    update(job)
    .where(job.c.key == bindparam("of"))
    .values(dependency_count=bindparam("edges"), reference_count=bindparam("references"))
)
_GRAPH_KEY = select(graph.c.key).where(graph.c.id == bindparam("id"))
_PARENTS = select(edge.c.child_key, edge.c.parent_key, edge.c.position, edge.c.condition).where(
    is_one_of(edge.c.child_key, "children")
)
_REFERENCES = select(*(reference.c[name] for name in NewReference._fields)).where(
    is_one_of(reference.c.child_key, "children")
)


def known_jobs(connection: Connection, ids: Sequence[bytes]) -> dict[bytes, KnownJob]:
    """Return those of `ids` that exist already."""
    return {
        identity: KnownJob(key, digest)
        for identity, key, digest in fetch_by_id(connection, _KNOWN, ids)
    }


def last_job_key(connection: Connection) -> int:
    """Return the highest key given so far; only the writer gives keys."""
    ((key,),) = fetch(connection, _LAST_KEY)
    return int(key)


def graph_key(connection: Connection, identity: bytes, name: str | None, now: int) -> int:
    """Return the key of the graph with this id, which exists from now on."""
    found = fetch(connection, _GRAPH_KEY, id=identity) or fetch(
        connection, _INSERT_GRAPH, id=identity, name=name, queued_at=now
    )
    return int(found[0][0])


def queue_keys(
    connection: Connection, queues: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return the keys of these queues (type and channel), which exist from now on."""
    found = {}
    for job_type, channel in queues:
        names = {"type": job_type, "channel": channel}
        keys = fetch(connection, _QUEUE_KEY, **names) or fetch(connection, _INSERT_QUEUE, **names)
        found[job_type, channel] = int(keys[0][0])
    return found


def insert_jobs(connection: Connection, rows: Sequence[NewRow], now: int) -> None:
    """Insert new jobs with their args."""
    if not rows:
        return
    change_many(connection, _INSERT_JOB, [_job_parameters(row, now) for row in rows])
    texts = [{"job_key": row.facts.key, "text": row.args} for row in rows if row.args != b"null"]
    if texts:
        change_many(connection, _INSERT_ARGS, texts)


def insert_edges(connection: Connection, edges: Sequence[NewEdge]) -> None:
    """Insert new edges."""
    texts = _CONDITION_TEXTS
    rows = [(child, parent, at, texts[condition]) for child, parent, at, condition in edges]
    insert_rows(connection, _INSERT_EDGE, NewEdge._fields, rows)


def insert_references(connection: Connection, references: Sequence[NewReference]) -> None:
    """Insert new result references."""
    insert_rows(connection, _INSERT_REFERENCE, NewReference._fields, references)


def load_edges_of(connection: Connection, children: Collection[int]) -> dict[int, list[NewEdge]]:
    """Return the edges of jobs to what they depend on, in the order in which they were given."""
    found: dict[int, list[NewEdge]] = {}
    for child, parent, position, condition in fetch(
        connection, _PARENTS, children=key_list(children)
    ):
        item = NewEdge(child, parent, position, Condition(condition))
        found.setdefault(child, []).append(item)
    for edges in found.values():
        edges.sort(key=lambda item: item.position)
    return found


def load_references_of(
    connection: Connection, children: Collection[int]
) -> dict[int, list[NewReference]]:
    """Return the result references of jobs."""
    found: dict[int, list[NewReference]] = {}
    for row in fetch(connection, _REFERENCES, children=key_list(children)):
        item = NewReference._make(row)
        found.setdefault(item.child_key, []).append(item)
    for references in found.values():
        references.sort(key=lambda item: item.position)
    return found


def count_dependencies(connection: Connection, counts: Mapping[int, tuple[int, int]]) -> None:
    """Store how many dependencies and references jobs have now."""
    if counts:
        change_many(
            connection,
            _COUNT_DEPENDENCIES,
            [{"of": key, "edges": e, "references": r} for key, (e, r) in counts.items()],
        )


class StoredParts(NamedTuple):
    """How many parts of a submit are there, and their length in bytes."""

    parts: int
    bytes: int


def store_part(
    connection: Connection, graph_id: bytes, *, number: int, parts: int, body: bytes, now: int
) -> StoredParts:
    """Store one part of a large submit.

    One that is not as it was sent before, or that counts other parts, begins the submit anew: what
    was stored of it is forgotten, so parts of two submits never come together.
    """
    mine = part.c.graph_id == graph_id
    before = connection.execute(
        select(part.c.parts, case((part.c.part == number, part.c.body)).label("body")).where(mine)
    ).all()
    if any(row.parts != parts or row.body not in (None, body) for row in before):
        connection.execute(delete(part).where(mine))
    entry = upsert(part).values(
        graph_id=graph_id, part=number, parts=parts, body=body, received_at=now
    )
    connection.execute(
        entry.on_conflict_do_update(
            index_elements=[part.c.graph_id, part.c.part], set_={"received_at": now}
        )
    )
    counted = connection.execute(
        select(func.count(), func.sum(func.length(part.c.body))).where(mine)
    ).one()
    return StoredParts(*counted)


def take_parts(connection: Connection, graph_id: bytes) -> list[bytes]:
    """Return the bodies of a submit's parts in order, and forget them."""
    mine = part.c.graph_id == graph_id
    bodies = connection.execute(select(part.c.body).where(mine).order_by(part.c.part))
    found = [bytes(row.body) for row in bodies]
    forget_parts_of(connection, graph_id)
    return found


def forget_parts_of(connection: Connection, graph_id: bytes) -> None:
    """Delete the parts of one submit."""
    connection.execute(delete(part).where(part.c.graph_id == graph_id))


def forget_parts(connection: Connection, before: int) -> None:
    """Delete the parts of submits whose last part came before this time."""
    stale = (
        select(part.c.graph_id)
        .group_by(part.c.graph_id)
        .having(func.max(part.c.received_at) < before)
    )
    connection.execute(delete(part).where(part.c.graph_id.in_(stale)))


def _job_parameters(row: NewRow, now: int) -> dict[str, Any]:
    facts, spec = row.facts, row.spec
    return {
        "key": facts.key,
        "id": row.id,
        "graph_key": row.graph_key,
        "queue_key": facts.queue_key,
        "name": spec.name,
        "state": facts.state.value,
        "dispatch": int(facts.dispatch),
        "pending": facts.pending,
        "attempt": facts.attempt,
        "handover": facts.handover,
        "max_attempts": facts.max_attempts,
        "priority": spec.priority,
        "timeout": facts.timeout,
        "backoff": None if facts.backoff is None else msgspec.json.encode(facts.backoff).decode(),
        "available_at": facts.available_at,
        "due_at": facts.due_at,
        "queued_at": now,
        "ready_at": facts.ready_at,
        "finished_at": facts.finished_at,
        "dependency_count": row.dependency_count,
        "reference_count": row.reference_count,
        "cause_key": facts.cause_key,
        "retry_of_key": row.retry_of_key,
        "digest": row.digest,
        "traceparent": spec.traceparent,
    }


class Options(NamedTuple):
    """What a copy of a job takes over besides its facts."""

    name: str | None
    priority: int
    traceparent: str | None
    graph_key: int | None
    digest: bytes
    reference_count: int
    args: bytes


def load_options(connection: Connection, keys: Collection[int]) -> dict[int, Options]:
    """Return what copies of these jobs take over."""
    statement = (
        select(job, func.coalesce(args.c.text, b"null").label("text"))
        .outerjoin_from(job, args, args.c.job_key == job.c.key)
        .where(is_one_of(job.c.key, "keys"))
    )
    return {
        row.key: Options(
            row.name,
            row.priority,
            row.traceparent,
            row.graph_key,
            row.digest,
            row.reference_count,
            row.text,
        )
        for row in connection.execute(statement, {"keys": key_list(keys)})
    }
