"""The window: which ready jobs go to the broker, and what is known of those that went.

The database is the truth about what is ready; the broker holds a bounded part of it. A job in the
window is first *publishing*, and *published* once the broker has confirmed it. Rows that are
publishing are the outbox: after a crash they are published again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select, update

from broker_queue.job import State
from scheduler.rules.lifecycle import Dispatch
from scheduler.store.jobs import NO_LIMIT
from scheduler.store.statements import change, change_many, fetch, is_one_of, key_list, rows
from scheduler.store.tables import (
    HELD,
    IN_LINE,
    LYING,
    PUBLISHING,
    args,
    edge,
    graph,
    job,
    outcome,
    queue,
    reference,
)


class Handout(NamedTuple):
    """Everything that the message of a job needs. `timeout` is in milliseconds.

    `republished` says that the broker may have got it before.
    """

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
    republished: bool


class QueueRow(NamedTuple):
    """A job queue."""

    key: int
    type: str
    channel: str


class HeldJob(NamedTuple):
    """A job in one hand-over."""

    key: int
    handover: int


class ReferenceRow(NamedTuple):
    """A part of the result of job `parent_key`, named by `pointer`, that goes to `place`."""

    place: str
    parent_key: int
    pointer: str


class LyingJob(NamedTuple):
    """A canceled job whose message still lies in its queue, or is with a worker."""

    key: int
    id: bytes
    handover: int


_WINDOW = select(queue.c.key, queue.c.handed_out).where(is_one_of(queue.c.key, "keys"))
_ARGS_SIZE = func.coalesce(func.length(args.c.text), 4)
_ENTER = update(job).where(is_one_of(job.c.key, "keys")).values(dispatch=int(Dispatch.PUBLISHING))
_PUBLISHED = (
    update(job)
    .where(job.c.key == bindparam("of"), job.c.handover == bindparam("number"), PUBLISHING)
    .values(dispatch=int(Dispatch.PUBLISHED))
)
_HANDOUT = (
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
    .order_by(job.c.priority.desc(), job.c.key)
)
_HANDOUTS = _HANDOUT.where(is_one_of(job.c.key, "keys"))
_NEXT_IN_LINE = _HANDOUT.where(job.c.queue_key == bindparam("of"), IN_LINE).limit(bindparam("room"))
_parent = job.alias("parent")
_DEPENDENCY_IDS = (
    select(edge.c.child_key, _parent.c.id)
    .join_from(edge, _parent, _parent.c.key == edge.c.parent_key)
    .where(is_one_of(edge.c.child_key, "children"))
    .order_by(edge.c.child_key, edge.c.position)
)
_STILL_PUBLISHING = (
    select(job.c.key, _ARGS_SIZE)
    .outerjoin_from(job, args, args.c.job_key == job.c.key)
    .where(is_one_of(job.c.key, "keys"), PUBLISHING)
    .order_by(job.c.key)
)
_REFERENCES = (
    select(reference.c.child_key, reference.c.place, reference.c.parent_key, reference.c.pointer)
    .where(is_one_of(reference.c.child_key, "children"))
    .order_by(reference.c.child_key, reference.c.parent_key)
)
_WITH_HELD, _WITH_LYING = (
    select(queue.c.key, queue.c.type, queue.c.channel)
    .where(select(job.c.key).where(job.c.queue_key == queue.c.key, condition).exists())
    .order_by(queue.c.key)
    for condition in (HELD, LYING)
)
_HELD = (
    select(job.c.key, job.c.handover)
    .where(job.c.queue_key == bindparam("of"), HELD, job.c.leased_until.is_(None))
    .limit(bindparam("limit"))
)
_HANDED_OUT = select(job.c.key).where(PUBLISHING).union(select(job.c.key).where(HELD))
_OF_QUEUE = (job.c.queue_key == bindparam("of"), HELD)
_UNPUBLISH = (
    update(job)
    .where(*_OF_QUEUE, job.c.state == State.QUEUED.value)
    .values(dispatch=int(Dispatch.PUBLISHING))
    .returning(job.c.key)
)
_DROP_CANCELED = (
    update(job)
    .where(*_OF_QUEUE, job.c.state == State.CANCELED.value)
    .values(dispatch=int(Dispatch.NONE))
)
_PUBLISHING = select(job.c.key).where(PUBLISHING)
_QUEUES = select(queue.c.key, queue.c.type, queue.c.channel)
_ALL_QUEUES = select(queue.c.key)
_LYING = select(job.c.key, job.c.id, job.c.handover).where(
    is_one_of(job.c.queue_key, "queues"), LYING
)
_RESULT_SIZES = (
    select(outcome.c.job_key, func.length(outcome.c.result))
    .where(is_one_of(outcome.c.job_key, "keys"), outcome.c.result.is_not(None))
    .order_by(outcome.c.job_key)
)
_RESULTS = select(outcome.c.job_key, outcome.c.result).where(
    is_one_of(outcome.c.job_key, "keys"), outcome.c.result.is_not(None)
)


class Room(NamedTuple):
    """How much may be published: what is on its way to the broker is in memory."""

    jobs: int
    bytes: int
    """Of args; one job is let in however long its args are."""


NO_ROOM = Room(0, 0)


def enter_window(
    connection: Connection, queues: Collection[int], window: int, room: Room, moves: Counter[int]
) -> tuple[list[Handout], set[int]]:
    """Move jobs from the line into the windows of these queues that have room.

    The caller publishes them after the commit.

    Args:
        connection: of the writer.
        queues: their keys.
        window: jobs of one queue that the broker may have.
        room: for what is handed out.
        moves: changes of the queues' counts that are not written yet; those made here are added.

    Returns:
        The jobs, no more than there is `room` for, which the queues share; and the queues that may
        have more.
    """
    entered: list[Handout] = []
    left: set[int] = set()
    filled = {
        key: handed_out + moves[key]
        for key, handed_out in fetch(connection, _WINDOW, keys=key_list(queues))
    }
    emptiest_first = sorted(filled, key=lambda key: filled[key])
    for position, queue_key in enumerate(emptiest_first):
        free = window - filled[queue_key]
        share = _share(room, len(filled) - position)
        limit = min(free, share.jobs)
        if limit <= 0:
            if free > 0:
                left.add(queue_key)
            continue
        found: list[Handout] = []
        size = 0
        for row in rows(connection, _NEXT_IN_LINE, of=queue_key, room=limit):
            if size >= share.bytes:
                left.add(queue_key)
                break
            item = Handout._make((*row, False))
            found.append(item)
            size += len(item.args)
        room = Room(room.jobs - len(found), room.bytes - size)
        if len(found) == limit and limit < free:
            left.add(queue_key)
        if found:
            change(connection, _ENTER, keys=key_list(item.key for item in found))
            moves[queue_key] += len(found)
            entered += found
    return entered, left


def _share(room: Room, queues: int) -> Room:
    """Return what one of several queues may take, so that a long line holds up no other queue."""
    return Room(-(-room.jobs // queues), max(0, -(-room.bytes // queues)))


def _fitting(sized: Iterable[tuple[int, int]], room: Room) -> tuple[list[int], Room]:
    """Return the first of these jobs (key, length of its args) that fit, and the room left."""
    keys: list[int] = []
    for key, size in sized:
        if room.jobs <= 0 or room.bytes <= 0:
            break
        keys.append(key)
        room = Room(room.jobs - 1, room.bytes - size)
    return keys, room


def mark_published(connection: Connection, handovers: Iterable[tuple[int, int]]) -> None:
    """Note that the broker has confirmed these jobs (key, number of the hand-over)."""
    published = [{"of": key, "number": number} for key, number in handovers]
    change_many(connection, _PUBLISHED, published)


def publishing(connection: Connection) -> list[int]:
    """Return the keys of the jobs in the outbox.

    Canceled ones are among them: whether the broker has their message is unknown, and only a
    worker that drops it makes sure that it has not.
    """
    return [key for (key,) in fetch(connection, _PUBLISHING)]


def still_publishing(
    connection: Connection, keys: Collection[int], room: Room
) -> tuple[list[int], set[int]]:
    """Return those of `keys` that are still in the outbox.

    Returns:
        As many as there is `room` for, and the others.
    """
    still = fetch(connection, _STILL_PUBLISHING, keys=key_list(keys))
    found, _ = _fitting(still, room)
    return found, {key for key, _ in still[len(found) :]}


def all_queues(connection: Connection) -> list[int]:
    """Return the keys of all queues; at start, every window is filled."""
    return [key for (key,) in fetch(connection, _ALL_QUEUES)]


def queues_with_held(connection: Connection) -> list[QueueRow]:
    """Return the queues of which the broker or a worker has jobs."""
    return [QueueRow._make(row) for row in fetch(connection, _WITH_HELD)]


def queues_with_lying(connection: Connection) -> list[QueueRow]:
    """Return the queues with canceled jobs that a worker may still receive, or run."""
    return [QueueRow._make(row) for row in fetch(connection, _WITH_LYING)]


def queue_keys(connection: Connection, names: Collection[tuple[str, str]]) -> list[int]:
    """Return the keys of the queues with these types and channels, as far as they are known."""
    known = fetch(connection, _QUEUES)
    return [key for key, job_type, channel in known if (job_type, channel) in names]


def handed_out(connection: Connection) -> list[int]:
    """Return the keys of all jobs of which the broker or a worker may have a message, or the run."""
    return [key for (key,) in fetch(connection, _HANDED_OUT)]


def held(connection: Connection, queue_key: int, limit: int = NO_LIMIT) -> list[HeldJob]:
    """Return jobs of a queue that the broker or a worker has, except those held by lease."""
    return [HeldJob._make(row) for row in fetch(connection, _HELD, of=queue_key, limit=limit)]


def unpublish(connection: Connection, queue_key: int) -> tuple[list[int], int]:
    """Put what a queue held into the outbox, since the queue is gone.

    Returns:
        The keys of those jobs, and how many canceled ones it held, whose messages are gone as well.
    """
    canceled = change(connection, _DROP_CANCELED, of=queue_key)
    return [key for (key,) in fetch(connection, _UNPUBLISH, of=queue_key)], canceled


def load_republished(connection: Connection, keys: Collection[int]) -> list[Handout]:
    """Return what the messages of these jobs need, in the order in which to publish them again."""
    if not keys:
        return []
    return [
        Handout._make((*row, True)) for row in fetch(connection, _HANDOUTS, keys=key_list(keys))
    ]


def dependency_ids(connection: Connection, children: Collection[int]) -> dict[int, list[bytes]]:
    """Return the ids that these jobs depend on, in the order given."""
    found: dict[int, list[bytes]] = {}
    if children:
        for child, identity in fetch(connection, _DEPENDENCY_IDS, children=key_list(children)):
            found.setdefault(child, []).append(identity)
    return found


def references(connection: Connection, children: Collection[int]) -> dict[int, list[ReferenceRow]]:
    """Return the result references of these jobs, each job's by the job that they refer to."""
    found: dict[int, list[ReferenceRow]] = {}
    for child, place, parent, pointer in fetch(
        connection, _REFERENCES, children=key_list(children)
    ):
        found.setdefault(child, []).append(ReferenceRow(place, parent, pointer))
    return found


def results(
    connection: Connection, keys: Collection[int], max_bytes: int
) -> Iterator[dict[int, bytes]]:
    """Yield the results of these jobs in pieces of about `max_bytes`, or of one result."""
    piece: list[int] = []
    size = 0
    for key, length in fetch(connection, _RESULT_SIZES, keys=key_list(keys)):
        if piece and size + length > max_bytes:
            yield _load_results(connection, piece)
            piece, size = [], 0
        piece.append(key)
        size += length
    if piece:
        yield _load_results(connection, piece)


def short_results(
    connection: Connection, keys: Collection[int], max_bytes: int
) -> dict[int, bytes] | None:
    """Return the results of these jobs; None if they are longer than `max_bytes` together."""
    found: dict[int, bytes] = {}
    for key, result in rows(connection, _RESULTS, keys=key_list(keys)):
        found[key] = result
        max_bytes -= len(result)
        if max_bytes < 0:
            return None
    return found


def _load_results(connection: Connection, keys: Collection[int]) -> dict[int, bytes]:
    return dict(fetch(connection, _RESULTS, keys=key_list(keys)))


def lying_jobs(connection: Connection, queues: Collection[int]) -> list[LyingJob]:
    """Return canceled jobs that a worker of these queues may still receive, or run."""
    return [LyingJob._make(row) for row in fetch(connection, _LYING, queues=key_list(queues))]
