"""What a worker does with messages that are no jobs, and when it fails itself: no slot is lost."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from broker_queue import worker as worker_module
from broker_queue.client import JobQueue
from broker_queue.execution import Execution
from broker_queue.graph import new_job_id
from broker_queue.job import State
from broker_queue.running import Job
from broker_queue.worker import Worker
from tests.support.job_messages import WRONG_HEADERS
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE
from tests.support.workers import running


def echoing() -> Worker:
    """A worker that holds one message at a time."""
    worker = Worker(concurrency=1)

    @worker.job()
    async def echo(job: Job) -> Any:
        return [job.attempt, job.traceparent]

    return worker


async def put_into_its_queue(
    raw: RawClient,
    headers: dict[str, Any],
    *,
    message_id: str | None = None,
    token: str = "forged",
) -> None:
    await raw.publish(
        raw.names.jobs,
        "echo",
        b"{}",
        type="echo",
        correlation_id=token,
        headers=headers,
        message_id=message_id or new_job_id(),
    )


async def test_a_trace_goes_with_its_job(queue: JobQueue, broker_url: str, namespace: str) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with running(echoing(), broker_url, namespace):
        job = await queue.enqueue("echo", traceparent=trace)
        assert await queue.result(job, timeout=PATIENCE) == [1, trace]
    await queue.enqueue("other", traceparent=trace)
    assert (await queue.dequeue("other", timeout=PATIENCE)).traceparent == trace


async def test_a_message_that_is_no_job_costs_no_slot(
    queue: JobQueue,
    raw: RawClient,
    broker_url: str,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = {"protocol": 1, "attempt": 1, "max_attempts": 1, "dependency_count": 0}
    async with running(echoing(), broker_url, namespace):
        assert await queue.result(await queue.enqueue("echo"), timeout=PATIENCE) == [1, None]
        for wrong in WRONG_HEADERS:
            await put_into_its_queue(raw, whole | wrong)
        await put_into_its_queue(raw, whole, message_id="no id")
        await put_into_its_queue(raw, {})
        job = await queue.enqueue("echo")
        assert await queue.result(job, timeout=PATIENCE) == [1, None]
    for _ in range(len(WRONG_HEADERS) + 2):
        assert "dead letter" in (await raw.parked()).headers["reason"]
    told = [record.getMessage() for record in caplog.records if "rejected" in record.msg]
    assert len(told) == len(WRONG_HEADERS) + 2
    assert "message rejected, queue of echo: headers.dependencies: expected array, got int" in told
    assert any("version 2 of the protocol" in text for text in told)


async def test_a_second_copy_of_a_job_that_runs_costs_no_slot(
    queue: JobQueue, raw: RawClient, broker_url: str, namespace: str
) -> None:
    """A scheduler that was killed before it noted a confirm publishes the job again."""
    worker = Worker(concurrency=2)
    begun: asyncio.Queue[str] = asyncio.Queue()
    go_on = asyncio.Event()

    @worker.job()
    async def echo(job: Job) -> None:
        begun.put_nowait(job.id)
        await go_on.wait()

    async with running(worker, broker_url, namespace), asyncio.timeout(PATIENCE):
        first = await queue.enqueue("echo")
        assert await begun.get() == first
        (token,) = worker._deliveries._executions
        headers = {"protocol": 1, "attempt": 1, "max_attempts": 1, "dependency_count": 0}
        await put_into_its_queue(raw, headers, message_id=first, token=token)
        second = await queue.enqueue("echo")
        assert await begun.get() == second
        go_on.set()
        ends = await queue.wait([first, second])
        assert [end.state for end in ends] == [State.FINISHED] * 2
    assert await raw.count(raw.names.job_queue("echo")) == 0


async def test_a_delivery_that_the_worker_fails_at_comes_again(
    queue: JobQueue,
    broker_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run, failures = Execution.run, 0

    async def fail_once(execution: Execution) -> None:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise ZeroDivisionError("a defect")
        await run(execution)

    monkeypatch.setattr(Execution, "run", fail_once)
    async with running(echoing(), broker_url, namespace):
        jobs = [await queue.enqueue("echo") for _ in range(2)]
        async with asyncio.timeout(PATIENCE):
            assert [await queue.result(job) for job in jobs] == [[1, None]] * 2
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info is not None for record in errors] == [True]


async def test_a_worker_whose_consumer_is_gone_without_a_word_consumes_anew(
    broker_url: str,
    namespace: str,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(worker_module, "FIRST_PAUSE", 0.1)
    worker = echoing()
    async with (
        RunningScheduler(
            url=broker_url, namespace=namespace, database=database, hello_interval=1.0
        ),
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        running(worker, broker_url, namespace),
    ):
        await queue.result(await queue.enqueue("echo"), timeout=PATIENCE)
        channel, (consumer,) = worker._intake._channel, worker._intake._consumers
        assert channel is not None
        await channel.stop_consuming(consumer)
        job = await queue.enqueue("echo")
        assert await queue.result(job, timeout=PATIENCE) == [1, None]
    assert [record for record in caplog.records if "consuming anew" in record.msg]
