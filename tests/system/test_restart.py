"""A scheduler that is killed, stopped or doubled: nothing is lost, and one of them writes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from broker_queue.client import JobQueue
from broker_queue.graph import Graph, new_job_id
from broker_queue.job import State
from broker_queue.requests import REQUESTS_KEY
from broker_queue.worker import Worker
from scheduler.store.database import MIGRATIONS
from scheduler.store.leader import LostLeadership
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler, SchedulerProcess
from tests.support.waiting import PATIENCE, until
from tests.support.workers import running


async def test_a_killed_scheduler_goes_on_where_it_was(
    broker_url: str, namespace: str, database: Path
) -> None:
    scheduler = SchedulerProcess(url=broker_url, namespace=namespace, database=database, window=20)
    await scheduler.start()
    worker = Worker(concurrency=4)
    ran: list[int] = []

    @worker.job("step")
    async def step(number: int) -> int:
        ran.append(number)
        await asyncio.sleep(0)
        return number

    graph = Graph()
    layers: list[list[int]] = [list(range(n * 40, n * 40 + 40)) for n in range(5)]
    before = [graph.milestone([])]
    for layer in layers:
        jobs = [graph.add("step", number, dependencies=before) for number in layer]
        before = [graph.milestone(jobs)]
    async with JobQueue(broker_url, namespace=namespace, timeout=3 * PATIENCE) as queue:
        await queue.submit(graph)
        async with running(worker, broker_url, namespace):
            for amount in (30, 90, 150):

                async def has_run(amount: int = amount) -> bool:
                    return len(ran) >= amount

                await until(has_run)
                await scheduler.kill()
                await scheduler.start(wait=False)
            assert (await queue.wait(before[0], timeout=3 * PATIENCE)).state is State.FINISHED
            counts = {(c.type, c.state): c.jobs for c in (await queue.graph(graph.id)).counts}
    code, log = await scheduler.terminate()
    assert counts["step", State.FINISHED] == 200
    assert set(ran) == {number for layer in layers for number in layer}
    assert code == 0, log
    assert "nothing is lost" in log


async def test_a_job_whose_publishing_was_never_confirmed_is_published_by_the_next_scheduler(
    broker_url: str, namespace: str, database: Path
) -> None:
    settings = {"url": broker_url, "namespace": namespace, "database": database}
    async with RunningScheduler(**settings), JobQueue(broker_url, namespace=namespace) as queue:
        job = await queue.enqueue("a")
        async with RawClient(broker_url, namespace) as raw:
            await (await raw.take("a")).acknowledge()  # as if the broker had never got it
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE job SET dispatch = 1")
    async with RunningScheduler(**settings), RawClient(broker_url, namespace) as raw:
        delivery = await raw.take("a")
        assert delivery.message_id == job
        answer = await raw.report("finished", delivery.correlation_id, b"1")
        assert answer.type == "accepted"
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT handed_out FROM queue").fetchone() == (0,)


async def test_the_schema_is_the_one_of_the_last_migration(
    scheduler: RunningScheduler, database: Path
) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    head = ScriptDirectory.from_config(config).get_current_head()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(head,)]


async def test_a_second_scheduler_waits_and_takes_over(
    broker_url: str, namespace: str, database: Path
) -> None:
    first, second = (
        SchedulerProcess(url=broker_url, namespace=namespace, database=database) for _ in range(2)
    )
    await first.start()
    await second.start(wait=False)
    await second.says("standby: ")
    async with JobQueue(broker_url, namespace=namespace, timeout=3 * PATIENCE) as queue:
        job = await queue.enqueue("later")
        epoch = (await queue.info()).epoch
        await first.kill()
        assert (await queue.job_status(job)).state is State.QUEUED
        assert (await queue.info()).epoch == epoch + 1
    code, log = await second.terminate()
    assert code == 0, log


async def test_a_scheduler_that_was_paused_goes_on_as_standby_and_takes_over_again(
    broker_url: str, namespace: str, database: Path
) -> None:
    first, second = (
        SchedulerProcess(url=broker_url, namespace=namespace, database=database, takeover_after=2)
        for _ in range(2)
    )
    await first.start()
    await second.start(wait=False)
    await second.says("standby: ")
    await first.pause()
    await second.says("ready: ")
    first.go_on()
    await first.says("going on as standby")
    async with JobQueue(broker_url, namespace=namespace, timeout=3 * PATIENCE) as queue:
        job = await queue.enqueue("later")
        assert (await queue.info()).epoch == 2
        await second.kill()
        assert (await queue.job_status(job)).state is State.QUEUED
        assert (await queue.info()).epoch == 3
    code, log = await first.terminate()
    assert code == 0, log


async def test_a_scheduler_whose_leadership_was_taken_writes_nothing_and_blames_no_message(
    broker_url: str, namespace: str, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = RunningScheduler(url=broker_url, namespace=namespace, database=database)
    await scheduler.start()
    with closing(sqlite3.connect(database)) as connection:
        with connection:
            connection.execute("UPDATE leader SET epoch = epoch + 1")
        async with RawClient(broker_url, namespace) as raw:
            body = json.dumps({"jobs": [{"id": new_job_id(), "type": "a"}]}).encode()
            await raw.publish(raw.names.requests, REQUESTS_KEY, body, type="submit")

            async def has_given_it_up() -> bool:
                return scheduler.error is not None and await raw.count(raw.names.requests) == 1

            await until(has_given_it_up)
        assert connection.execute("SELECT count(*) FROM job").fetchone() == (0,)
    with pytest.raises(LostLeadership):
        await scheduler.stop()
    assert "could not be folded" not in caplog.text
