"""A scheduler that is killed, stopped or doubled: nothing is lost, and one of them writes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from broker_queue.client import JobQueue
from broker_queue.graph import Graph
from broker_queue.job import State
from broker_queue.worker import Worker
from tests.support.schedulers import SchedulerProcess
from tests.support.waiting import until
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
    async with JobQueue(broker_url, namespace=namespace, timeout=60) as queue:
        await queue.submit(graph)
        async with running(worker, broker_url, namespace):
            for amount in (30, 90, 150):

                async def has_run(amount: int = amount) -> bool:
                    return len(ran) >= amount

                await until(has_run)
                await scheduler.kill()
                await scheduler.start(wait=False)
            assert (await queue.wait(before[0], timeout=60)).state is State.FINISHED
            counts = {(c.type, c.state): c.jobs for c in (await queue.graph(graph.id)).counts}
    code, log = await scheduler.terminate()
    assert counts["step", State.FINISHED] == 200
    assert set(ran) == {number for layer in layers for number in layer}
    assert code == 0, log
    assert "nothing is lost" in log


async def test_a_second_scheduler_waits_and_takes_over(
    broker_url: str, namespace: str, database: Path
) -> None:
    first, second = (
        SchedulerProcess(url=broker_url, namespace=namespace, database=database) for _ in range(2)
    )
    await first.start()
    await second.start(wait=False)
    await second.says("standby: ")
    async with JobQueue(broker_url, namespace=namespace, timeout=60) as queue:
        job = await queue.enqueue("later")
        epoch = (await queue.info()).epoch
        await first.kill()
        assert (await queue.job_status(job)).state is State.QUEUED
        assert (await queue.info()).epoch == epoch + 1
    code, log = await second.terminate()
    assert code == 0, log
