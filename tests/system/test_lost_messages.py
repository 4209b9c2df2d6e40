"""Messages that the broker loses: purged, deleted with their queue, gone with its disk."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker_queue.client import JobQueue
from broker_queue.graph import Graph
from broker_queue.job import State
from broker_queue.local_broker.node import PrivateNode
from broker_queue.running import Job
from broker_queue.worker import Worker
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, until
from tests.support.workers import running

LOST_AFTER = 1.0


@pytest.fixture
async def scheduler(
    broker_url: str, namespace: str, database: Path
) -> AsyncIterator[RunningScheduler]:
    """A scheduler that waits a second for word of a job."""
    async with RunningScheduler(
        url=broker_url,
        namespace=namespace,
        database=database,
        lost_after=LOST_AFTER,
        delivery_limit=3,
    ) as started:
        yield started


async def purge(raw: RawClient, queue: str, at_least: int) -> None:
    """Throw away what lies in a queue, once that is there."""

    async def is_filled() -> bool:
        return await raw.count(queue) >= at_least

    await until(is_filled)
    await raw.channel.underlying.queue_purge(queue)


async def test_a_job_whose_message_was_purged_is_handed_out_anew(
    queue: JobQueue, raw: RawClient, caplog: pytest.LogCaptureFixture
) -> None:
    job = await queue.enqueue("a")
    first = await raw.take("a")
    await first.requeue()
    await purge(raw, raw.names.job_queue("a"), 1)
    second = await raw.take("a")
    assert second.message_id == job
    assert second.correlation_id != first.correlation_id
    assert second.headers["attempt"] == 1
    assert (await raw.report("finished", first.correlation_id, b"1")).type == "stale"
    assert (await raw.report("finished", second.correlation_id, b"2")).type == "accepted"
    told = [record.getMessage() for record in caplog.records if "handed out anew" in record.msg]
    assert told[0].startswith(f"1 jobs of {raw.names.job_queue('a')} were handed out")
    assert not [record for record in caplog.records if "fell silent" in record.msg]


async def test_a_job_that_is_lost_again_and_again_fails(queue: JobQueue, raw: RawClient) -> None:
    job = await queue.enqueue("a")
    for _ in range(3):
        delivery = await raw.take("a")
        await delivery.acknowledge()  # by a worker that reports nothing
    status = await queue.wait(job, timeout=PATIENCE)
    assert status.state is State.FAILED
    assert status.reason == "its messages or its workers were lost 3 times (worker_died)"


async def test_a_running_job_without_a_word_is_lost_as_well(
    queue: JobQueue, raw: RawClient
) -> None:
    job = await queue.enqueue("a")
    first = await raw.take("a")
    assert (await raw.report("started", first.correlation_id, {})).type == "accepted"
    await first.acknowledge()
    second = await raw.take("a")
    assert (second.message_id, second.headers["attempt"]) == (job, 1)


async def test_canceled_jobs_whose_messages_were_purged_make_room_for_others(
    broker_url: str, namespace: str, database: Path
) -> None:
    async with (
        RunningScheduler(
            url=broker_url, namespace=namespace, database=database, lost_after=LOST_AFTER, window=2
        ),
        RawClient(broker_url, namespace) as raw,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        canceled = [await queue.enqueue("a") for _ in range(2)]
        following = await queue.enqueue("a")
        for job in canceled:
            await queue.cancel_job(job)
        await purge(raw, raw.names.job_queue("a"), 2)
        assert (await raw.take("a")).message_id == following


async def test_what_a_deleted_queue_held_is_published_again(
    queue: JobQueue, raw: RawClient, broker_url: str, namespace: str
) -> None:
    jobs = [await queue.enqueue("a", n) for n in range(20)]
    canceled = await queue.enqueue("a")
    name = raw.names.job_queue("a")
    await raw.until_ready(name, 21)
    await queue.cancel_job(canceled)
    await raw.channel.underlying.queue_delete(name)
    worker = Worker(concurrency=4)
    worker.register("a", lambda args: args)
    async with running(worker, broker_url, namespace):
        results = [await queue.result(job, timeout=PATIENCE) for job in jobs]
    assert results == list(range(20))
    info = await queue.info()
    assert [each.handed_out for each in info.queues] == [0]


async def test_a_queue_that_nobody_asks_for_is_looked_at_too(
    queue: JobQueue, raw: RawClient
) -> None:
    await queue.enqueue("a")
    name = raw.names.job_queue("a")
    await (await raw.take("a")).requeue()
    await raw.channel.underlying.queue_delete(name)
    await raw.until_ready(name, 1)


@pytest.mark.timeout(240)
async def test_a_fresh_broker_in_place_of_the_old_one_is_filled_again(
    node: PrivateNode, namespace: str, database: Path
) -> None:
    """Killed with its disk in the middle of a graph; everybody goes on by himself."""
    worker = Worker(concurrency=2)
    seen: list[str] = []

    @worker.job()
    async def step(job: Job) -> int:
        seen.append(job.id)
        return job.attempt

    async with (
        RunningScheduler(url=node.url, namespace=namespace, database=database),
        JobQueue(node.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        graph = Graph()
        first = [graph.add("step") for _ in range(30)]
        last = graph.add("step", dependencies=first)
        await queue.submit(graph)

        async def are_published() -> bool:
            return bool((await queue.info()).queues[0].messages)

        await until(are_published)
        node.kill()
        shutil.rmtree(node.folder / "data")
        node.start()
        async with running(worker, node.url, namespace):
            status = await queue.wait(last, timeout=4 * PATIENCE)
    assert status.result == 1
    assert set(seen) == {job.id for job in [*first, last]}
