"""Windows, priorities, channels, types; a standby that takes over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker_queue.client import JobQueue
from broker_queue.job import State
from scheduler.store import leader
from scheduler.store.database import Database
from scheduler.store.writer import Writer
from tests.support.ends import finish
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, until


async def test_the_broker_never_holds_more_jobs_than_the_window(
    broker_url: str, namespace: str, database: Path
) -> None:
    scheduler = RunningScheduler(url=broker_url, namespace=namespace, database=database, window=5)
    async with (
        scheduler,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        RawClient(broker_url, namespace) as raw,
    ):
        jobs = await asyncio.gather(*(queue.enqueue("a", i) for i in range(60)))
        name = raw.names.job_queue("a")
        counts = []
        for _ in jobs:
            delivery = await raw.take("a")
            counts.append(await raw.count(name) + 1)
            await raw.report("finished", delivery.correlation_id, b"1")
            await delivery.acknowledge()
            counts.append(await raw.count(name))
        assert max(counts) == 5
        assert {item.state for item in await queue.wait(jobs, timeout=PATIENCE)} == {State.FINISHED}


async def test_higher_priorities_go_first_where_a_window_leaves_a_choice(
    broker_url: str, namespace: str, database: Path
) -> None:
    scheduler = RunningScheduler(url=broker_url, namespace=namespace, database=database, window=1)
    async with (
        scheduler,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        RawClient(broker_url, namespace) as raw,
    ):
        first = await queue.enqueue("a", priority=0)
        jobs = {priority: await queue.enqueue("a", priority=priority) for priority in (3, 9, 0, 5)}
        explanation = await queue.explain(jobs[0])
        assert explanation.reasons[0].kind in {"in_line", "no_worker"}
        taken = [await finish(raw, "a") for _ in range(5)]
    assert taken == [first, jobs[9], jobs[5], jobs[3], jobs[0]]


@pytest.mark.parametrize(
    ("queue_type", "arguments"),
    [
        ("classic", {"x-max-priority": 9}),
        ("quorum", {"x-delivery-limit": 7}),
    ],
)
async def test_the_broker_delivers_by_priority_within_a_window(
    broker_url: str, namespace: str, database: Path, queue_type: str, arguments: dict[str, Any]
) -> None:
    scheduler = RunningScheduler(
        url=broker_url,
        namespace=namespace,
        database=database,
        window=10,
        queue_type=queue_type,
        delivery_limit=7,
    )
    async with (
        scheduler,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        RawClient(broker_url, namespace) as raw,
    ):
        jobs = {priority: await queue.enqueue("a", priority=priority) for priority in (0, 9, 5)}
        name = raw.names.job_queue("a")
        await raw.request("hello", {"worker": "w", "types": ["a"]})  # from now on it is there
        await raw.until_ready(name, 3)
        taken = [await raw.channel.underlying.basic_get(name) for _ in jobs]
        properties = [message.header.properties for message in taken]
        assert {item.priority: item.message_id for item in properties} == jobs
        if queue_type == "classic":  # quorum queues have no order by priority before RabbitMQ 4
            assert [item.priority for item in properties] == [9, 5, 0]
        common = {"x-queue-type": queue_type, "x-dead-letter-exchange": raw.names.dead}
        await raw.channel.underlying.queue_declare(
            name, durable=True, arguments=common | arguments
        )  # refused if it was declared otherwise


async def test_a_canceled_job_leaves_room_in_the_window_once_it_is_dropped(
    broker_url: str, namespace: str, database: Path
) -> None:
    scheduler = RunningScheduler(url=broker_url, namespace=namespace, database=database, window=1)
    async with (
        scheduler,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        RawClient(broker_url, namespace) as raw,
    ):
        canceled = await queue.enqueue("a")
        wanted = await queue.enqueue("a")
        delivery = await raw.take("a")
        await queue.cancel_job(canceled)
        hello = {"worker": "w", "types": ["a"]}
        welcome = (await raw.request("hello", hello)).body
        assert welcome["canceled"] == [delivery.correlation_id]
        assert (await raw.report("released", delivery.correlation_id, {})).type == "canceled"
        await delivery.acknowledge()
        assert await finish(raw, "a") == wanted


async def test_a_worker_sees_the_jobs_of_its_channels_only(queue: JobQueue, raw: RawClient) -> None:
    plain = await queue.enqueue("a")
    tenant = await queue.enqueue("a", channel="tenant-1")
    other = await queue.enqueue("a", channel="tenant-2")
    delivery = await raw.take("a", "tenant-1")
    assert (delivery.message_id, delivery.headers["channel"]) == (tenant, "tenant-1")
    job = await queue.dequeue("a", channels=["tenant-2", "tenant-3"], timeout=PATIENCE)
    assert job.id == other
    await queue.finish_job(job)
    assert await finish(raw, "a") == plain


async def test_two_hundred_types_at_once_each_get_a_queue(queue: JobQueue, raw: RawClient) -> None:
    types = [f"type-{i}" for i in range(200)]
    jobs = await asyncio.gather(*(queue.enqueue(kind) for kind in types))
    await asyncio.gather(*(finish(raw, kind) for kind in types[:20]))

    async def all_handed_out() -> bool:
        queues = (await queue.info()).queues
        return len(queues) == 200 and sum(item.messages for item in queues) == 180

    await until(all_handed_out)
    assert (await queue.job_status(jobs[0])).state is State.FINISHED


async def test_a_standby_waits_and_takes_over_when_the_first_one_stops(
    broker_url: str, namespace: str, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"url": broker_url, "namespace": namespace, "database": database}
    async with (
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        RawClient(broker_url, namespace) as raw,
    ):
        first = RunningScheduler(**settings)
        await first.start()
        waiting = await queue.enqueue("before")
        assert (await queue.info()).epoch == 1
        monkeypatch.setattr(leader, "this_holder", lambda: "another-machine:1")
        async with RunningScheduler(**settings):
            assert (await queue.info()).epoch == 1
            await first.stop()
            assert (await queue.info()).epoch == 2
            assert await finish(raw, "before") == waiting
            assert (await queue.wait(waiting, timeout=PATIENCE)).state is State.FINISHED


async def test_a_scheduler_whose_epoch_is_old_cannot_write(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "fenced.sqlite3"))
    old, new = Writer(database), Writer(database)
    await old.prepare()
    try:
        old.epoch = await old.unfenced_transaction(lambda c: leader.take(c, "one:1", 1_000, 2_000))
        taken = await new.unfenced_transaction(lambda c: leader.take(c, "two:2", 1_999, 9_000))
        assert taken is None
        new.epoch = await new.unfenced_transaction(lambda c: leader.take(c, "two:2", 2_001, 9_000))
        assert (old.epoch, new.epoch) == (1, 2)
        with pytest.raises(leader.LostLeadership, match="epoch 2, ours was 1"):
            await old.transaction(lambda c: leader.renew(c, 99_000))
        assert await new.transaction(leader.holder) == ("two:2", 9_000)
    finally:
        await old.close()
        await new.close()


async def test_a_second_scheduler_of_a_namespace_says_that_it_gets_nothing(
    scheduler: RunningScheduler,
    broker_url: str,
    namespace: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = tmp_path / "other.sqlite3"
    async with RunningScheduler(url=broker_url, namespace=namespace, database=other):

        async def has_said_so() -> bool:
            return f"another scheduler consumes {namespace}.requests" in caplog.text

        await until(has_said_so)
