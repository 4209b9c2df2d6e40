"""The window: which ready jobs go to the broker, and what is known of those that went.

The database is the truth about what is ready; the broker holds a bounded part of it. A job in the
window is first *publishing*, and *published* once the broker has confirmed it. Rows that are
publishing are the outbox: after a crash they are published again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select, text, update

from scheduler.rules.lifecycle import Dispatch
from scheduler.store.database import execute_many, is_one_of, key_list
from scheduler.store.tables import args, edge, graph, job, outcome, queue, reference


class Handout(NamedTuple):
    """Everything that the message of a job needs. `timeout` is in milliseconds."""

    key: int
    id: bytes
    type: str
    channel: str
    name: str | None
    graph_id: bytes | None
    attempt: int
    handover: int
    max_attempts: int
    priority: int
    timeout: int | None
    dependency_count: int
    reference_count: int
    traceparent: str | None
    args: bytes


class LyingJob(NamedTuple):
    """A canceled job whose message still lies in its queue."""

    key: int
    id: bytes
    handover: int


# Written out as text so that SQLite sees the very terms of its partial indexes.
_IN_LINE = text("job.state = 'queued' AND job.dispatch = 0")
_PUBLISHING = text("job.dispatch = 1")
_LYING = text("job.state = 'canceled' AND job.dispatch != 0")

_WINDOW = select(queue.c.key, queue.c.handed_out).where(is_one_of(queue.c.key, "keys"))
_NEXT_IN_LINE = (
    select(job.c.key)
    .where(job.c.queue_key == bindparam("of"), _IN_LINE)
    .order_by(job.c.priority.desc(), job.c.key)
    .limit(bindparam("room"))
)
_ENTER = update(job).where(is_one_of(job.c.key, "keys")).values(dispatch=int(Dispatch.PUBLISHING))
_TAKE_ROOM = (
    update(queue)
    .where(queue.c.key == bindparam("of"))
    .values(handed_out=queue.c.handed_out + bindparam("by"))
)
_PUBLISHED = (
    update(job)
    .where(job.c.key == bindparam("of"), job.c.handover == bindparam("number"), _PUBLISHING)
    .values(dispatch=int(Dispatch.PUBLISHED))
)
_HANDOUTS = (
    select(
        job.c.key,
        job.c.id,
        queue.c.type,
        queue.c.channel,
        job.c.name,
        graph.c.id,
        job.c.attempt,
        job.c.handover,
        job.c.max_attempts,
        job.c.priority,
        job.c.timeout,
        job.c.dependency_count,
        job.c.reference_count,
        job.c.traceparent,
        func.coalesce(args.c.text, b"null"),
    )
    .join_from(job, queue, queue.c.key == job.c.queue_key)
    .outerjoin(graph, graph.c.key == job.c.graph_key)
    .outerjoin(args, args.c.job_key == job.c.key)
    .where(is_one_of(job.c.key, "keys"))
    .order_by(job.c.priority.desc(), job.c.key)
)
_parent = job.alias("parent")
_DEPENDENCY_IDS = (
    select(edge.c.child_key, _parent.c.id)
    .join_from(edge, _parent, _parent.c.key == edge.c.parent_key)
    .where(is_one_of(edge.c.child_key, "children"))
    .order_by(edge.c.child_key, edge.c.position)
)
_REFERENCED = (
    select(reference.c.place, func.coalesce(outcome.c.result, b"null"), reference.c.pointer)
    .outerjoin_from(reference, outcome, outcome.c.job_key == reference.c.parent_key)
    .where(reference.c.child_key == bindparam("child"))
    .order_by(reference.c.position)
)


def enter_window(
    connection: Connection, queues: Collection[int], window: int, limit: int
) -> tuple[list[int], set[int]]:
    """Move jobs from the line into the windows of these queues that have room.

    The caller publishes them after the commit.

    Returns:
        The keys of the jobs, `limit` at most, and the queues that may have room left.
    """
    entered: list[int] = []
    left: set[int] = set()
    rows = connection.execute(_WINDOW, {"keys": key_list(queues)}).all()
    for queue_key, handed_out in rows:
        room = min(window - handed_out, limit - len(entered))
        if window > handed_out and room < window - handed_out:
            left.add(queue_key)
        if room <= 0:
            continue
        keys = connection.execute(_NEXT_IN_LINE, {"of": queue_key, "room": room}).scalars().all()
        if keys:
            connection.execute(_ENTER, {"keys": key_list(keys)})
            connection.execute(_TAKE_ROOM, {"of": queue_key, "by": len(keys)})
            entered.extend(keys)
        if len(keys) < room:
            left.discard(queue_key)
    return entered, left


def mark_published(connection: Connection, handovers: Iterable[tuple[int, int]]) -> None:
    """Note that the broker has confirmed these jobs (key, number of the hand-over)."""
    rows = [{"of": key, "number": number} for key, number in handovers]
    if rows:
        execute_many(connection, _PUBLISHED, rows)


def publishing(connection: Connection) -> list[int]:
    """Return the keys of the jobs in the outbox.

    Canceled ones are among them: whether the broker has their message is unknown, and only a
    worker that drops it makes sure that it has not.
    """
    return list(connection.execute(select(job.c.key).where(_PUBLISHING)).scalars())


def still_publishing(connection: Connection, keys: Collection[int]) -> list[int]:
    """Return those of `keys` that are still in the outbox."""
    statement = select(job.c.key).where(is_one_of(job.c.key, "keys"), _PUBLISHING)
    return list(connection.execute(statement, {"keys": key_list(keys)}).scalars())


def all_queues(connection: Connection) -> list[int]:
    """Return the keys of all queues; at start, every window is filled."""
    return list(connection.execute(select(queue.c.key)).scalars())


def load_handouts(connection: Connection, keys: Collection[int]) -> list[Handout]:
    """Return what the messages of these jobs need, in the order in which to publish them."""
    if not keys:
        return []
    rows = connection.execute(_HANDOUTS, {"keys": key_list(keys)})
    return [Handout._make(row) for row in rows]


def dependency_ids(connection: Connection, children: Collection[int]) -> dict[int, list[bytes]]:
    """Return the ids that these jobs depend on, in the order given."""
    found: dict[int, list[bytes]] = {}
    if children:
        for child, identity in connection.execute(
            _DEPENDENCY_IDS, {"children": key_list(children)}
        ):
            found.setdefault(child, []).append(identity)
    return found


def referenced_values(connection: Connection, child: int) -> Sequence[tuple[str, bytes, str]]:
    """Return place, result and pointer of each result reference of a job."""
    rows = connection.execute(_REFERENCED, {"child": child}).all()
    return [(place, result, pointer) for place, result, pointer in rows]


def lying_jobs(connection: Connection, queues: Collection[int]) -> list[LyingJob]:
    """Return canceled jobs that a worker of these queues may still receive."""
    statement = select(job.c.key, job.c.id, job.c.handover).where(
        is_one_of(job.c.queue_key, "queues"), _LYING
    )
    rows = connection.execute(statement, {"queues": key_list(queues)})
    return [LyingJob(row.key, row.id, row.handover) for row in rows]
