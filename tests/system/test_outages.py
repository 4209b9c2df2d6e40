"""The database fails for a moment, or the broker refuses: work goes on by itself, none of it lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from broker_queue.client import JobQueue
from broker_queue.graph import Edge, Graph
from broker_queue.job import Condition, State
from scheduler import leading, loop, publishing, work
from scheduler.broker.outbox import Outbox
from scheduler.store import database as databases
from scheduler.store import dispatch
from scheduler.store.database import Database
from scheduler.store.writer import Writer
from tests.support.ends import finish
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE, until


def failing_once(function: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """`function`, except that the database fails the first call that `when` picks."""
    failed = False

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal failed
        if not failed and when(*args, **kwargs):
            failed = True
            raise OperationalError("", {}, sqlite3.OperationalError("disk I/O error"))
        return function(*args, **kwargs)

    return call


async def test_a_fan_out_goes_on_after_the_database_failed_in_the_middle_of_it(
    raw: RawClient, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "DATABASE_PAUSE", 0.01)
    graph = Graph()
    first = graph.add("first")
    many = [graph.add(None, dependencies=[first]) for _ in range(3_000)]
    await queue.submit(graph)
    in_the_middle = failing_once(work.apply, lambda _c, todo, *_: todo.settle)
    monkeypatch.setattr(work, "apply", in_the_middle)
    await finish(raw, "first")
    statuses = await queue.wait(many, timeout=PATIENCE)
    assert {status.state for status in statuses} == {State.FINISHED}


async def test_what_was_committed_though_the_database_said_otherwise_goes_out(
    raw: RawClient, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "DATABASE_PAUSE", 0.01)
    transaction = Writer.transaction
    failed = False

    async def failing(writer: Writer, apply: Callable[..., Any], **options: Any) -> Any:
        nonlocal failed
        done = await transaction(writer, apply, **options)
        if not failed and isinstance(done, work.Done) and done.effects.handouts:
            failed = True
            raise databases.DatabaseDown("disk I/O error")
        return done

    monkeypatch.setattr(Writer, "transaction", failing)
    job = await queue.enqueue("a")
    assert await finish(raw, "a") == job


async def test_a_result_that_cannot_be_read_now_is_read_later(
    raw: RawClient, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "references", failing_once(dispatch.references, lambda *_: True))
    graph = Graph()
    first = graph.add("first")
    second = graph.add("second", {"from": first.result})
    await queue.submit(graph)
    await finish(raw, "first", b'"here"')
    assert (await raw.take("second")).body == b'{"from":"here"}'
    assert (await queue.job_status(second)).state is State.QUEUED


async def test_jobs_go_out_also_where_workers_cannot_be_told_of_a_cancel(
    raw: RawClient, queue: JobQueue
) -> None:
    running = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    assert (await raw.report("started", token, {})).type == "accepted"
    after = await queue.enqueue("b", dependencies=[Edge(running, Condition.ANY)])
    await raw.channel.underlying.exchange_delete(raw.names.control)
    await queue.cancel_job(running)  # its first answer may be lost with the scheduler's connection
    assert (await raw.take("b")).message_id == after
    assert (await queue.job_status(running)).state is State.CANCELED


async def test_a_queue_that_takes_no_more_is_tried_again_now_and_then(
    raw: RawClient, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = raw.names.job_queue("full")
    arguments: dict[str, Any] = {
        "x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish",
    }  # fmt: skip
    await raw.channel.underlying.queue_declare(name, durable=True, arguments=arguments)
    tries = 0
    publish = Outbox.publish_jobs

    async def counted(outbox: Outbox, jobs: Any, settled: Any) -> None:
        nonlocal tries
        tries += len(jobs)
        await publish(outbox, jobs, settled)

    monkeypatch.setattr(Outbox, "publish_jobs", counted)
    jobs = [await queue.enqueue("full") for _ in range(4)]
    begun = asyncio.get_running_loop().time()
    taken = {await finish(raw, "full") for _ in jobs}
    seconds = asyncio.get_running_loop().time() - begun
    assert taken == set(jobs)
    assert tries <= len(jobs) * (2 + seconds)


async def test_a_queue_that_the_broker_refuses_holds_up_no_other(
    raw: RawClient, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "REFUSED_PAUSE", 3_600_000)
    await raw.channel.underlying.queue_declare(raw.names.job_queue("locked"), exclusive=True)
    graph = Graph()
    for _ in range(1_500):
        graph.add("locked")
    await queue.submit(graph)
    other = await queue.enqueue("other")
    assert await finish(raw, "other") == other


async def test_jobs_reach_a_queue_that_somebody_else_declared(
    raw: RawClient, queue: JobQueue
) -> None:
    """As the tutorials of RabbitMQ do it."""
    await raw.channel.underlying.queue_declare(raw.names.job_queue("foreign"), durable=False)
    job = await queue.enqueue("foreign")
    assert await finish(raw, "foreign") == job


async def test_a_queue_that_was_deleted_is_there_again_for_who_says_hello(
    raw: RawClient, queue: JobQueue
) -> None:
    await queue.enqueue("a")
    await finish(raw, "a")
    name = raw.names.job_queue("a")
    await raw.channel.underlying.queue_delete(name)
    assert (await raw.request("hello", {"worker": "w", "types": ["a"]})).type == "ok"
    assert await raw.count(name) == 0


async def test_a_standby_waits_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = (*databases.WRITER_PRAGMAS, "busy_timeout = 10")
    monkeypatch.setattr(databases, "WRITER_PRAGMAS", quick)
    monkeypatch.setattr(leading, "STANDBY_PAUSE", 0.01)
    database = Database(str(tmp_path / "busy.sqlite3"))
    writer = Writer(database)
    await writer.prepare()
    busy = sqlite3.connect(database.path, isolation_level=None)
    busy.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(leading.lead(writer, database, 1_000, asyncio.Event()))
    looked = failing_once(leading.clock.now, lambda: False)
    times = 0

    def now() -> int:
        nonlocal times
        times += 1
        return int(looked())

    monkeypatch.setattr(leading.clock, "now", now)

    async def looked_twice() -> bool:
        return times > 2

    await until(looked_twice)
    assert not waiting.done()
    busy.rollback()
    busy.close()
    assert await asyncio.wait_for(waiting, PATIENCE)
    await writer.close()
