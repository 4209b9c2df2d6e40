"""Clients and workers of today with a scheduler of tomorrow, which says more than they know of."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import NotExist
from broker_queue.graph import Graph, new_job_id
from broker_queue.job import State
from broker_queue.protocol import messages
from broker_queue.running import Job
from broker_queue.worker import Worker
from scheduler.broker import outbox
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import PATIENCE, until
from tests.support.workers import running

OPAQUE = {"args", "result", "details", "data"}
"""Fields with JSON of somebody else."""


def with_more(value: Any) -> Any:
    """Return a body with a field more in each of its objects."""
    if isinstance(value, list):
        return [with_more(item) for item in value]
    if not isinstance(value, dict) or set(value) <= set(State):  # how many jobs are in which state
        return value
    known = {k: v if k in OPAQUE else with_more(v) for k, v in value.items()}
    return known | {"colour": {"of": "tomorrow"}}


@pytest.fixture
def _later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the scheduler say more than this version knows of."""

    def encode(body: messages.Message) -> bytes:
        return json.dumps(with_more(json.loads(messages.encode(body)))).encode()

    monkeypatch.setattr(outbox, "encode", encode)


@pytest.fixture
async def scheduler(_later: None, scheduler: RunningScheduler) -> RunningScheduler:
    return scheduler


async def test_a_client_understands_all_answers_of_a_later_scheduler(queue: JobQueue) -> None:
    graph = Graph(name="a graph")
    first = graph.add("a")
    second = graph.add("b", dependencies=[first])
    await queue.submit(graph)
    taken = await queue.dequeue("a", timeout=PATIENCE)
    await queue.fail_job(taken, "no luck")

    assert (await queue.job_status(first)).state is State.FAILED
    assert (await queue.explain(second)).reasons
    assert [job.id for job in (await queue.list()).jobs] == [second.id, first.id]
    assert (await queue.graph(graph.id)).name == "a graph"
    assert len((await queue.graphs()).graphs) == 1
    assert (await queue.info()).queues
    assert len(await queue.workers()) == 1
    assert await queue.retry(first)
    assert (await queue.cancel_graph(graph)).canceled == 2
    with pytest.raises(NotExist):
        await queue.job_status(new_job_id())


async def test_a_watch_understands_all_events_of_a_later_scheduler(queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    seen = []
    async with asyncio.timeout(PATIENCE):
        async for event in queue.watch(job):
            seen.append(event.state)
            if event.state is State.QUEUED:
                await queue.fail_job(await queue.dequeue("a", timeout=PATIENCE), "no luck")

    assert seen[-1] is State.FAILED


async def test_a_worker_understands_answers_and_control_messages_of_a_later_scheduler(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()
    begun, ended = asyncio.Event(), asyncio.Event()

    @worker.job(claim=True)
    async def endless(job: Job) -> None:
        await job.progress(0.5)
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(worker, broker_url, namespace), asyncio.timeout(PATIENCE):
        job = await queue.enqueue("endless")
        await begun.wait()

        async def is_told() -> bool:
            return (await queue.job_status(job)).progress is not None

        await until(is_told)
        await queue.cancel_job(job)
        await ended.wait()
