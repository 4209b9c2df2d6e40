"""Operations inside one transaction, where the order of what it does matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Raw
from sqlalchemy import Connection, select

from broker_queue.graph import new_job_id
from broker_queue.job import State, Verdict
from broker_queue.protocol.messages import Backoff, Cancel, NewGraph, NewJob, Submit
from scheduler import work
from scheduler.operations import cancel, handout, reports, submit
from scheduler.operations.reports import Growth, Incoming
from scheduler.operations.take_back import take_back
from scheduler.operations.transaction import ReplyAddress, Transaction
from scheduler.rules.lifecycle import Fail, HandBack, Lease, Start, Succeed
from scheduler.rules.submission import Limits, id_bytes
from scheduler.store import dispatch
from scheduler.store.dispatch import Room
from scheduler.store.tables import job, queue
from scheduler.tokens import Token
from tests.support.databases import quick_engine
from tests.support.sanity import sanity_check

ROOM = Room(1_000, 1 << 30)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = quick_engine(tmp_path)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def begin(connection: Connection) -> Transaction:
    return Transaction(connection, 0, lambda: 0.0, Limits())


def enqueued(connection: Connection, *jobs: NewJob) -> list[Token]:
    """Enqueue jobs, hand them out, and return the tokens of their first hand-overs."""
    transaction = begin(connection)
    submit.submit(transaction, Submit(jobs=list(jobs)), b"")
    handout.hand_out(transaction, 100, ROOM)
    rows = connection.execute(select(job.c.key, job.c.id)).all()
    keys = {row.id: row.key for row in rows}
    identities = [id_bytes(it.id, "id") for it in jobs]
    return [Token(identity, 1, keys[identity]) for identity in identities]


def test_a_long_line_of_one_type_leaves_room_for_the_others(connection: Connection) -> None:
    transaction = begin(connection)
    types = ["long"] * 30 + ["short"] * 3
    jobs = [NewJob(id=new_job_id(), type=name) for name in types]
    submit.submit(transaction, Submit(jobs=jobs), b"")
    handout.hand_out(transaction, 100, Room(10, 1 << 20))

    effects = transaction.effects
    assert Counter(item.type for item in effects.handouts) == {"long": 5, "short": 3}
    assert len(effects.unfilled) == 1  # it goes on with the long one


def test_a_job_that_grows_out_of_a_batch_waits_for_what_the_batch_did_not_end(
    connection: Connection,
) -> None:
    """One report ends a dependency, the next one enqueues a job that depends on it and another."""
    parent, grower, other = (NewJob(id=new_job_id(), type="t") for _ in range(3))
    of_parent, of_grower, _ = enqueued(connection, parent, grower, other)
    grown = NewJob(id=new_job_id(), type="t", dependencies=[parent.id, other.id])
    transaction = begin(connection)
    reports.fold(
        transaction,
        [
            Incoming(of_parent, Succeed(1), result=b"1"),
            Incoming(of_grower, Succeed(1), result=b"1", growth=Growth([grown], [])),
        ],
    )
    transaction.flush_moves()
    sanity_check(connection)
    state = connection.execute(select(job.c.state).where(job.c.id == id_bytes(grown.id, "id")))
    assert state.scalar_one() == State.WAITING


def test_a_job_that_comes_back_while_it_is_to_be_published_again_goes_out_once(
    connection: Connection,
) -> None:
    (token,) = enqueued(connection, NewJob(id=new_job_id(), type="t"))
    transaction = begin(connection)
    reports.fold(transaction, [Incoming(token, HandBack(1))])
    handout.hand_out(transaction, 100, ROOM)
    handout.hand_out_again(transaction, [token.key], ROOM)
    assert [(item.key, item.handover) for item in transaction.effects.handouts] == [(token.key, 2)]


def test_the_jitter_of_the_scheduler_is_drawn_anew_for_each_job(connection: Connection) -> None:
    jobs = [
        NewJob(id=new_job_id(), type="t", max_attempts=2, backoff=Backoff(initial=1e6, jitter=1.0))
        for _ in range(20)
    ]
    tokens = enqueued(connection, *jobs)
    work.apply(
        connection,
        work.Work(now=1_000, reports=[Incoming(token, Fail(1)) for token in tokens]),
        Limits(),
        window=100,
    )
    due = connection.execute(select(job.c.due_at).where(job.c.due_at.is_not(None))).scalars().all()
    assert len(set(due)) == 20


def test_no_more_is_handed_out_than_there_is_room_for(connection: Connection) -> None:
    long = [NewJob(id=new_job_id(), type="t", args=Raw(b'"' + b"x" * 98 + b'"')) for _ in range(5)]
    transaction = begin(connection)
    submit.submit(transaction, Submit(jobs=long), b"")
    handout.hand_out(transaction, 100, Room(1_000, 250))
    assert len(transaction.effects.handouts) == 3
    assert transaction.effects.unfilled
    following = begin(connection)
    following.queues.update(transaction.effects.unfilled)
    handout.hand_out(following, 100, Room(1, 1 << 30))
    assert len(following.effects.handouts) == 1
    keys = [item.key for item in transaction.effects.handouts]
    again = begin(connection)
    handout.hand_out_again(again, keys, Room(2, 1 << 30))
    assert [item.key for item in again.effects.handouts] == keys[:2]
    assert again.effects.unpublished == {keys[2]}


@pytest.mark.parametrize("named", [True, False])
def test_a_cancel_that_comes_again_tells_workers_again_of_what_one_may_hold(
    connection: Connection, *, named: bool
) -> None:
    """The scheduler that committed it may have died before it told them."""
    graph = NewGraph(id=new_job_id())
    queued, running, waiting = (NewJob(id=new_job_id(), type="t") for _ in range(3))
    waiting.dependencies = [queued.id, running.id]
    transaction = begin(connection)
    submit.submit(transaction, Submit(jobs=[queued, running, waiting], graph=graph), b"")
    handout.hand_out(transaction, 100, ROOM)
    keys = {row.id: row.key for row in connection.execute(select(job.c.key, job.c.id))}
    identity = id_bytes(running.id, "id")
    started = begin(connection)
    reports.fold(started, [Incoming(Token(identity, 1, keys[identity]), Start(1, "worker"))])
    ids = [queued.id, running.id, waiting.id]
    request = Cancel(jobs=ids) if named else Cancel(graph=graph.id)
    told = []
    for canceled in (3, 0):
        transaction = begin(connection)
        answer = cancel.cancel(transaction, request)
        assert (answer.canceled, answer.already_final) == (canceled, 3 - canceled if named else 0)
        told.append({(item.key, item.handover) for item in transaction.effects.revoked})
    held = {(keys[id_bytes(each.id, "id")], 1) for each in (queued, running)}
    assert told == [held, held]


def test_what_was_handed_out_is_taken_back_as_no_attempt_and_reports_on_it_are_stale(
    connection: Connection,
) -> None:
    names = ("in line", "publishing", "published", "running", "leased", "canceled", "finished")
    by_name = {name: NewJob(id=new_job_id(), type="t", timeout=60) for name in names}
    tokens = dict(zip(names, enqueued(connection, *by_name.values()), strict=True))
    transaction = begin(connection)
    in_line = tokens["in line"]
    out = [token for name, token in tokens.items() if name not in ("in line", "publishing")]
    dispatch.mark_published(connection, [(token.key, 1) for token in out])
    events = {
        "in line": HandBack(1),
        "running": Start(1, "worker"),
        "leased": Lease(1, 1_000, "worker"),
        "finished": Succeed(1),
    }
    reports.fold(
        transaction,
        [Incoming(tokens[name], event, result=b"1") for name, event in events.items()],
    )
    cancel.cancel(transaction, Cancel(jobs=[by_name["canceled"].id]))
    transaction.flush()
    transaction.flush_moves()
    assert take_back(begin(connection)) == 4
    sanity_check(connection)
    columns = (job.c.state, job.c.attempt, job.c.handover, job.c.dispatch, job.c.leased_until)
    rows = {row.key: row[1:] for row in connection.execute(select(job.c.key, *columns))}
    for name in ("publishing", "published", "running", "leased"):
        assert rows[tokens[name].key] == (State.QUEUED, 1, 2, 0, None), name
    assert rows[in_line.key] == (State.QUEUED, 1, 2, 0, None)
    assert rows[tokens["canceled"].key][:4] == (State.CANCELED, 1, 1, 0)
    assert rows[tokens["finished"].key][:4] == (State.FINISHED, 1, 1, 0)
    assert connection.execute(select(queue.c.handed_out)).scalars().all() == [0]
    assert take_back(begin(connection)) == 0
    late = begin(connection)
    reports.fold(
        late, [Incoming(tokens["running"], Succeed(1), b"1", reply=ReplyAddress("r", "1", None))]
    )
    assert [answer.type for answer in late.effects.answers] == [Verdict.STALE]
