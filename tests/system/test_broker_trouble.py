"""The broker is restarted, short of disk, or closes connections: everybody goes on by himself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import Unavailable
from broker_queue.graph import Graph, new_job_id
from broker_queue.job import State
from broker_queue.local_broker.node import PrivateNode
from broker_queue.running import Job
from broker_queue.worker import Worker
from tests.support.control import rabbitmqctl
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import PATIENCE, until
from tests.support.workers import running

ALARM = ("set_disk_free_limit", "900000GB")
NO_ALARM = ("set_disk_free_limit", "1MB")
CLIENT_TIMEOUT = 2.0


class Everybody:
    """A scheduler, a worker and a client of one node."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self.runs: Counter[str] = Counter()

    def worker(self) -> Worker:
        worker = Worker(concurrency=4)

        @worker.job()
        async def step(job: Job) -> int:
            self.runs[job.id] += 1
            await asyncio.sleep(0.02)
            return job.attempt

        return worker


@asynccontextmanager
async def everybody(node: PrivateNode, database: Path) -> AsyncIterator[Everybody]:
    async with (
        RunningScheduler(url=node.url, namespace="trouble", database=database),
        JobQueue(node.url, namespace="trouble", timeout=CLIENT_TIMEOUT) as queue,
    ):
        found = Everybody(queue)
        async with running(found.worker(), node.url, "trouble"):
            job = await queue.enqueue("step")
            await queue.wait(job, timeout=PATIENCE)  # everybody is there
            yield found


def layers(count: int, width: int) -> Graph:
    graph = Graph()
    after = graph.milestone([])
    for _ in range(count):
        after = graph.milestone([graph.add("step", dependencies=[after]) for _ in range(width)])
    return graph


async def ended(queue: JobQueue, graph: Graph) -> None:
    """Return once all of it has finished, though the broker may be away for a while."""
    async with asyncio.timeout(3 * PATIENCE):
        while True:
            try:
                statuses = await queue.wait(graph.jobs)
            except Unavailable:
                await asyncio.sleep(0.1)
            else:
                assert {status.state for status in statuses} == {State.FINISHED}
                return


@pytest.mark.timeout(240)
async def test_while_the_broker_is_short_of_disk_clients_hear_it_and_nothing_is_done_twice(
    node: PrivateNode, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def log_says(text: str) -> None:
        async def said() -> bool:
            return f"{text} (client)" in caplog.text

        await until(said)

    async with everybody(node, database) as those:
        graph = layers(20, 10)
        await those.queue.submit(graph)
        await until(lambda: _has_begun(those))
        await rabbitmqctl(node, *ALARM)
        late = new_job_id()
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await those.queue.enqueue("step", id=late)
        assert time.monotonic() - begun < 2 * CLIENT_TIMEOUT
        with pytest.raises(Unavailable):
            await those.queue.job_status(late)
        await log_says("the broker is short of memory or disk and takes no messages at present")
        await rabbitmqctl(node, *NO_ALARM)
        await log_says("the broker takes messages again")
        await ended(those.queue, graph)
        assert await those.queue.enqueue("step", id=late) == late
        assert (await those.queue.wait(late, timeout=PATIENCE)).result == 1
        assert those.runs[late] == 1
        assert set(those.runs.values()) == {1}


@pytest.mark.timeout(240)
async def test_a_broker_that_is_restarted_in_order_is_waited_for(
    node: PrivateNode, database: Path
) -> None:
    async with everybody(node, database) as those:
        graph = layers(10, 10)
        await those.queue.submit(graph)
        await until(lambda: _has_begun(those))
        await asyncio.to_thread(node.stop)
        with pytest.raises(Unavailable):
            await those.queue.enqueue("step")
        await asyncio.to_thread(node.start)
        await ended(those.queue, graph)
        job = await those.queue.enqueue("step")
        assert (await those.queue.wait(job, timeout=PATIENCE)).state is State.FINISHED


@pytest.mark.timeout(240)
async def test_connections_that_an_operator_closes_come_back(
    node: PrivateNode, database: Path
) -> None:
    async with everybody(node, database) as those:
        graph = layers(20, 10)
        await those.queue.submit(graph)
        for _ in range(3):
            await until(lambda: _has_begun(those))
            await rabbitmqctl(node, "close_all_connections", "maintenance")
        await ended(those.queue, graph)


async def _has_begun(those: Everybody) -> bool:
    return len(those.runs) > 1
