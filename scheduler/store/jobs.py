"""Jobs: loading the facts of a batch, writing what was decided."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from broker_queue.job import Condition, State
from scheduler.rules.backoff import Backoff
from scheduler.rules.lifecycle import Dispatch, JobFacts
from scheduler.store.statements import (
    blobs,
    change,
    change_many,
    fetch,
    fetch_by_id,
    is_one_of,
    key_list,
)
from scheduler.store.tables import edge, frontier, graph, job, outcome, progress, queue

T = TypeVar("T")

NO_LIMIT = -1
"""Rows: all of them."""

_FACT_COLUMNS = (
    job.c.key, job.c.state, job.c.pending, job.c.attempt, job.c.handover, job.c.max_attempts,
    job.c.dispatch, job.c.queue_key, job.c.available_at, job.c.timeout, job.c.backoff, job.c.due_at,
    job.c.ready_at, job.c.started_at, job.c.finished_at, job.c.cause_key, job.c.worker,
    job.c.leased_until, job.c.losses,
)  # fmt: skip


class GraphRow(NamedTuple):
    """The graph that a job belongs to."""

    key: int
    id: bytes


class Identity(NamedTuple):
    """What outsiders are told of a job besides its facts."""

    id: bytes
    type: str | None
    channel: str
    name: str | None
    graph: GraphRow | None


class LoadedJob(NamedTuple):
    """A job as the database has it."""

    facts: JobFacts
    identity: Identity


class OpenEdge(NamedTuple):
    """An edge whose parent has ended."""

    parent_key: int
    child_key: int
    condition: Condition


_LOAD = (
    select(
        *_FACT_COLUMNS,
        job.c.id,
        queue.c.type,
        queue.c.channel,
        job.c.name,
        graph.c.id.label("graph_id"),
        job.c.graph_key,
    )
    .outerjoin_from(job, queue, queue.c.key == job.c.queue_key)
    .outerjoin(graph, graph.c.key == job.c.graph_key)
)
_LOAD_BY_KEY = _LOAD.where(is_one_of(job.c.key, "keys"))
_LOAD_BY_ID = _LOAD.where(job.c.id.in_(blobs("ids")))
_LOAD_DUE = _LOAD.where(job.c.due_at <= bindparam("now")).order_by(job.c.due_at).limit(500)
_NEXT_DUE = select(func.min(job.c.due_at)).where(job.c.due_at.is_not(None))

_WRITE = (
    update(job)
    .where(job.c.key == bindparam("of"))
    .values(
        state=bindparam("state"),
        pending=bindparam("pending"),
        attempt=bindparam("attempt"),
        handover=bindparam("handover"),
        dispatch=bindparam("dispatch"),
        available_at=bindparam("available_at"),
        due_at=bindparam("due_at"),
        ready_at=bindparam("ready_at"),
        started_at=bindparam("started_at"),
        finished_at=bindparam("finished_at"),
        cause_key=bindparam("cause_key"),
        worker=bindparam("worker"),
        leased_until=bindparam("leased_until"),
        losses=bindparam("losses"),
    )
)
_WRITE_PENDING = (
    update(job).where(job.c.key == bindparam("of")).values(pending=bindparam("pending"))
)

_CONDITIONS = {condition.value: condition for condition in Condition}
_EDGES = (
    select(edge.c.parent_key, edge.c.child_key, edge.c.condition)
    .where(is_one_of(edge.c.parent_key, "parents"))
    .order_by(edge.c.parent_key, edge.c.child_key)
    .limit(bindparam("limit"))
)
_listed = func.json_each(bindparam("keys")).table_valued("value")
_WITH_DEPENDENTS = select(_listed.c.value).where(
    select(edge.c.parent_key).where(edge.c.parent_key == _listed.c.value).exists()
)
_EDGES_AFTER = (
    select(edge.c.parent_key, edge.c.child_key, edge.c.condition)
    .where(edge.c.parent_key == bindparam("parent"), edge.c.child_key > bindparam("after"))
    .order_by(edge.c.child_key)
    .limit(bindparam("limit"))
)


_CHANGE_HANDED_OUT = (
    update(queue)
    .where(queue.c.key == bindparam("of"))
    .values(handed_out=queue.c.handed_out + bindparam("by"))
)
_NEW_OUTCOME = upsert(outcome)
_WRITE_OUTCOME = _NEW_OUTCOME.on_conflict_do_update(
    index_elements=[outcome.c.job_key],
    set_={"result": _NEW_OUTCOME.excluded.result, "error": _NEW_OUTCOME.excluded.error},
)
_NEW_PROGRESS = upsert(progress)
_WRITE_PROGRESS = _NEW_PROGRESS.on_conflict_do_update(
    index_elements=[progress.c.job_key], set_={"text": _NEW_PROGRESS.excluded.text}
)
_FRONTIER = (
    select(frontier.c.parent_key, frontier.c.after_child_key)
    .order_by(frontier.c.parent_key)
    .limit(bindparam("limit"))
)
_FRONTIER_OF = select(frontier.c.parent_key, frontier.c.after_child_key).where(
    is_one_of(frontier.c.parent_key, "parents")
)
_NEW_FRONTIER = upsert(frontier)
_WRITE_FRONTIER = _NEW_FRONTIER.on_conflict_do_update(
    index_elements=[frontier.c.parent_key],
    set_={"after_child_key": _NEW_FRONTIER.excluded.after_child_key},
)
_LEAVE_FRONTIER = delete(frontier).where(is_one_of(frontier.c.parent_key, "parents"))
_LINK_RETRY = (
    update(job).where(job.c.key == bindparam("of")).values(retried_as_key=bindparam("copy"))
)


def load(connection: Connection, keys: Collection[int]) -> dict[int, LoadedJob]:
    """Return the jobs with these keys."""
    if not keys:
        return {}
    loaded = map(_loaded, fetch(connection, _LOAD_BY_KEY, keys=key_list(keys)))
    return {job.facts.key: job for job in loaded}


def load_by_id(connection: Connection, ids: Collection[bytes]) -> dict[bytes, LoadedJob]:
    """Return the jobs with these ids; unknown ones are missing from the answer."""
    loaded = map(_loaded, fetch_by_id(connection, _LOAD_BY_ID, ids))
    return {job.identity.id: job for job in loaded}


def load_due(connection: Connection, now: int) -> list[LoadedJob]:
    """Return jobs whose time has come, the longest due first, 500 at most."""
    return [_loaded(row) for row in fetch(connection, _LOAD_DUE, now=now)]


def next_due(connection: Connection) -> int | None:
    """Return when the next job is due."""
    ((due,),) = fetch(connection, _NEXT_DUE)
    return None if due is None else int(due)


def write(connection: Connection, before: Iterable[JobFacts], after: Sequence[JobFacts]) -> None:
    """Write changed jobs; most of those that still wait differ in `pending` alone."""
    whole: list[dict[str, Any]] = []
    pending: list[dict[str, Any]] = []
    for old, new in zip(before, after, strict=True):
        if new.state is State.WAITING and msgspec.structs.replace(old, pending=new.pending) == new:
            pending.append({"of": new.key, "pending": new.pending})
        else:
            whole.append(_parameters(new))
    change_many(connection, _WRITE, whole)
    change_many(connection, _WRITE_PENDING, pending)


def change_handed_out(connection: Connection, moves: Mapping[int, int]) -> None:
    """Add to the count of jobs that each queue has with the broker."""
    rows = [{"of": key, "by": by} for key, by in moves.items() if by]
    if rows:
        change_many(connection, _CHANGE_HANDED_OUT, rows)


def write_outcomes(
    connection: Connection, outcomes: Mapping[int, tuple[bytes | None, bytes | None]]
) -> None:
    """Store result and error by job key; a later attempt's replaces an earlier one's."""
    if outcomes:
        rows = [{"job_key": key, "result": r, "error": e} for key, (r, e) in outcomes.items()]
        change_many(connection, _WRITE_OUTCOME, rows)


def write_progress(connection: Connection, texts: Mapping[int, bytes]) -> None:
    """Store the last progress by job key."""
    if texts:
        rows = [{"job_key": key, "text": text} for key, text in texts.items()]
        change_many(connection, _WRITE_PROGRESS, rows)


def load_edges(
    connection: Connection, parents: Collection[int], limit: int = NO_LIMIT
) -> list[OpenEdge]:
    """Return the edges to the dependents of `parents`, by parent, then child, `limit` at most."""
    rows = fetch(connection, _EDGES, parents=key_list(parents), limit=limit)
    return _open_edges(rows)


def load_edges_after(connection: Connection, parent: int, after: int, limit: int) -> list[OpenEdge]:
    """Return the edges to the dependents of one parent whose key is above `after`."""
    rows = fetch(connection, _EDGES_AFTER, parent=parent, after=after, limit=limit)
    return _open_edges(rows)


def _open_edges(rows: Iterable[tuple[int, int, str]]) -> list[OpenEdge]:
    conditions = _CONDITIONS
    return [OpenEdge(parent, child, conditions[condition]) for parent, child, condition in rows]


def with_dependents(connection: Connection, keys: Iterable[int]) -> list[int]:
    """Return those of `keys` on which some job depends."""
    return [key for (key,) in fetch(connection, _WITH_DEPENDENTS, keys=key_list(keys))]


def load_frontier(connection: Connection, limit: int) -> list[tuple[int, int]]:
    """Return ended jobs whose dependents were not all told: key, and the last child told."""
    return fetch(connection, _FRONTIER, limit=limit)


def frontier_of(connection: Connection, parents: Collection[int]) -> dict[int, int]:
    """Return those of `parents` that are in the frontier, with the last child told."""
    if not parents:
        return {}
    return dict(fetch(connection, _FRONTIER_OF, parents=key_list(parents)))


def write_frontier(connection: Connection, reached: Mapping[int, int]) -> None:
    """Note how far the dependents of ended jobs have been told."""
    if reached:
        rows = [{"parent_key": key, "after_child_key": after} for key, after in reached.items()]
        change_many(connection, _WRITE_FRONTIER, rows)


def leave_frontier(connection: Connection, parents: Collection[int]) -> None:
    """Forget jobs whose dependents have all been told."""
    if parents:
        change(connection, _LEAVE_FRONTIER, parents=key_list(parents))


def link_retry(connection: Connection, copies: Mapping[int, int]) -> None:
    """Link jobs to their copies (key of the job → key of its copy)."""
    if copies:
        rows = [{"of": key, "copy": copy} for key, copy in copies.items()]
        change_many(connection, _LINK_RETRY, rows)


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield `items` in pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _loaded(row: Any) -> LoadedJob:
    (
        key, state, pending, attempt, handover, max_attempts, dispatch, queue_key, available_at,
        timeout, backoff, due_at, ready_at, started_at, finished_at, cause_key, worker,
        leased_until, losses, identity, job_type, channel, name, graph_id, graph_key,
    ) = row  # fmt: skip
    facts = JobFacts(
        key=key,
        state=State(state),
        pending=pending,
        attempt=attempt,
        handover=handover,
        max_attempts=max_attempts,
        dispatch=Dispatch(dispatch),
        queue_key=queue_key,
        available_at=available_at,
        timeout=timeout,
        backoff=None if backoff is None else msgspec.json.decode(backoff, type=Backoff),
        due_at=due_at,
        ready_at=ready_at,
        started_at=started_at,
        finished_at=finished_at,
        cause_key=cause_key,
        worker=worker,
        leased_until=leased_until,
        losses=losses,
    )
    owner = None if graph_key is None else GraphRow(graph_key, graph_id)
    return LoadedJob(facts, Identity(identity, job_type, channel or "", name, owner))


def _parameters(facts: JobFacts) -> dict[str, Any]:
    return {
        "of": facts.key,
        "state": facts.state.value,
        "pending": facts.pending,
        "attempt": facts.attempt,
        "handover": facts.handover,
        "dispatch": int(facts.dispatch),
        "available_at": facts.available_at,
        "due_at": facts.due_at,
        "ready_at": facts.ready_at,
        "started_at": facts.started_at,
        "finished_at": facts.finished_at,
        "cause_key": facts.cause_key,
        "worker": facts.worker,
        "leased_until": facts.leased_until,
        "losses": facts.losses,
    }
