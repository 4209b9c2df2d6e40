"""Waiting for jobs and their results, also through restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from broker_queue import Graph, JobNotFinished, JobQueue, NotExist, RawJson, State, waiting
from broker_queue.graph import new_job_id
from tests.support.proxy import Proxy
from tests.support.schedulers import SchedulerProcess
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE


class Built(BaseModel):
    path: str
    size: int


@pytest.fixture
async def restartable(
    broker_url: str, namespace: str, database: Path
) -> AsyncIterator[SchedulerProcess]:
    """A scheduler to be killed."""
    process = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
    await process.start()
    yield process
    await process.terminate()


async def finish(queue: JobQueue, job_type: str, result: object = None) -> None:
    await queue.finish_job(await queue.dequeue(job_type, timeout=PATIENCE), result)


async def test_one_job_gives_one_status_and_many_a_list_in_the_order_given(
    queue: JobQueue,
) -> None:
    graph = Graph()
    handles = [graph.add("a"), graph.add("a"), graph.milestone([])]
    await queue.submit(graph)
    waiting_for_all = asyncio.create_task(queue.wait(graph))
    await finish(queue, "a", 1)
    await finish(queue, "a", 2)

    one = await queue.wait(handles[0])
    several = await queue.wait([handles[2], handles[0].id, one])
    of_graph = await waiting_for_all

    assert (one.id, one.state, one.result) == (handles[0].id, State.FINISHED, 1)
    assert [status.id for status in several] == [handles[2].id, handles[0].id, handles[0].id]
    assert [status.id for status in of_graph] == [handle.id for handle in handles]
    assert await queue.wait([]) == []


async def test_a_wait_ends_however_the_job_ends(queue: JobQueue) -> None:
    first = await queue.enqueue("a")
    dependent = await queue.enqueue("b", dependencies=[first])
    both = asyncio.create_task(queue.wait([first, dependent]))

    await queue.cancel_job(first)

    assert [status.state for status in await both] == [State.CANCELED, State.SKIPPED]


@pytest.mark.parametrize("timeout", [0, 0.2, timedelta(milliseconds=200)])
async def test_a_wait_that_is_too_long_is_a_timeout(
    queue: JobQueue, timeout: float | timedelta
) -> None:
    job = await queue.enqueue("a")
    with pytest.raises(TimeoutError, match=f"job {job} has not ended within 0"):
        await queue.wait(job, timeout=timeout)
    with pytest.raises(TimeoutError, match="at least 1 of 2 jobs have not ended"):
        await queue.wait([job, await queue.enqueue(None)], timeout=timeout)


async def test_a_wait_for_more_jobs_than_a_request_takes(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_IDS", 2)
    jobs = [await queue.enqueue("a" if number % 2 else None) for number in range(5)]
    waiting_for_all = asyncio.create_task(queue.wait(jobs))
    await finish(queue, "a")
    await finish(queue, "a")

    assert [status.id for status in await waiting_for_all] == jobs


async def test_an_unknown_job_is_not_waited_for(queue: JobQueue) -> None:
    with pytest.raises(NotExist):
        await queue.wait(new_job_id())


async def test_a_wait_survives_the_death_of_the_scheduler(
    restartable: SchedulerProcess,
    broker_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "SHORTEST_WAIT", 0.5)
    monkeypatch.setattr(waiting, "GRACE", 0.5)
    async with (
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        asyncio.timeout(2 * PATIENCE),
    ):
        job = await queue.enqueue("a")
        for_job = asyncio.create_task(queue.wait(job))
        taken = await queue.dequeue("a", timeout=PATIENCE)
        await restartable.kill()
        finishing = asyncio.create_task(queue.finish_job(taken, "done"))
        await restartable.start()
        await finishing

        assert (await for_job).result == "done"


async def test_a_wait_survives_a_lost_connection(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    async with (
        Proxy(broker_url) as proxy,
        JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as cut,
    ):
        job = await queue.enqueue("a")
        for_job = asyncio.create_task(cut.wait(job))
        taken = await queue.dequeue("a", timeout=PATIENCE)
        proxy.cut()
        await queue.finish_job(taken)

        async with asyncio.timeout(PATIENCE):
            assert (await for_job).state is State.FINISHED


async def test_a_result_is_parsed(queue: JobQueue) -> None:
    job = await queue.enqueue("build")
    await finish(queue, "build", Built(path="/tmp/x", size=3))

    assert await queue.result(job) == {"path": "/tmp/x", "size": 3}
    assert await queue.result(job, model=Built) == Built(path="/tmp/x", size=3)
    with pytest.raises(ValidationError):
        await queue.result(job, model=list[int])


async def test_null_is_a_result(queue: JobQueue) -> None:
    job = await queue.enqueue("build")
    await finish(queue, "build", RawJson(b"null"))

    assert await queue.result(job) is None


async def test_a_job_that_ended_otherwise_has_no_result_but_a_reason(queue: JobQueue) -> None:
    failed = await queue.enqueue("a")
    skipped = await queue.enqueue("b", dependencies=[failed])
    canceled = await queue.enqueue("c")
    await queue.fail_job(await queue.dequeue("a", timeout=PATIENCE), "no luck", code="unlucky")
    await queue.cancel_job(canceled, reason="not wanted")

    for job, state, reason in (
        (failed, State.FAILED, "no luck (unlucky)"),
        (skipped, State.SKIPPED, f"because of job {failed}"),
        (canceled, State.CANCELED, "not wanted"),
    ):
        with pytest.raises(JobNotFinished) as refusal:
            await queue.result(job)
        assert (refusal.value.job, refusal.value.state) == (job, state)
        assert refusal.value.reason == reason
