"""Whatever a job function raises is one failed attempt of its job, and nothing else's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import ConfigurationError, JobError
from broker_queue.job import State
from broker_queue.worker import Worker
from tests.support.waiting import PATIENCE
from tests.support.workers import running

NO_TEXT = "gar\udce7on"
"""What `os.listdir` makes of a name that is no UTF-8."""


def raises(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError(NO_TEXT), "ValueError", "gar\\udce7on"),
        (JobError(ValueError("text"), code="mine"), "mine", "text"),  # type: ignore[arg-type]
        (JobError("text", code=""), "failed", "text"),
        (JobError("text", code=7), "7", "text"),  # type: ignore[arg-type]
        (JobError(NO_TEXT, details={NO_TEXT: 1}), "failed", "gar\\udce7on"),
        (JobError("text", delay=timedelta(days=9_000), retry=False), "failed", "text"),
        (JobError("text", delay=-1.0, retry=False), "failed", "text"),
        (JobError("text", retry=None), "failed", "text"),  # type: ignore[arg-type]
        (SystemExit(2), "SystemExit", "2"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
        (asyncio.CancelledError("text"), "CancelledError", "the job function canceled itself"),
        (StopIteration("text"), "RuntimeError", "StopIteration: text"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_the_job_fails_once_and_the_worker_goes_on(
    queue: JobQueue,
    broker_url: str,
    namespace: str,
    error: BaseException,
    code: str,
    message: str,
    is_async: bool,
) -> None:
    worker = Worker(concurrency=1)
    runs = 0

    def plain() -> None:
        nonlocal runs
        runs += 1
        raise error

    async def coroutine() -> None:
        plain()

    worker.register("raises", coroutine if is_async else plain)
    worker.register("good", lambda: "done")
    job = await queue.enqueue("raises")
    async with running(worker, broker_url, namespace):
        status = await queue.wait(job, timeout=PATIENCE)
        assert await queue.result(await queue.enqueue("good"), timeout=PATIENCE) == "done"
    assert (status.state, runs) == (State.FAILED, 1)
    assert status.error is not None
    if is_async and isinstance(error, StopIteration):
        message = "coroutine raised StopIteration"
    assert (status.error.code, status.error.message) == (code, message)


async def test_a_delay_may_be_given_in_seconds(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()
    worker.register("later", raises(JobError("later", delay=3_600)))
    job = await queue.enqueue("later", max_attempts=2)
    async with running(worker, broker_url, namespace):
        async for event in queue.watch(job):
            if event.state is State.SCHEDULED:
                break
    status = await queue.job_status(job)
    assert status.available_at is not None
    assert status.available_at - status.queued > timedelta(minutes=59)


@pytest.mark.parametrize(
    "value", [float("nan"), {"mean": [float("inf")]}, {"a": None, "b": -1e999}]
)
async def test_a_result_that_is_no_number_is_no_result(
    queue: JobQueue, broker_url: str, namespace: str, value: Any
) -> None:
    worker = Worker()
    worker.register("mean", lambda: value)
    job = await queue.enqueue("mean")
    async with running(worker, broker_url, namespace):
        status = await queue.wait(job, timeout=PATIENCE)
    assert status.error is not None
    assert status.error.code == "invalid_result"
    assert "not JSON compliant" in status.error.message


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"channels": "tenant"}, "channels is 'tenant'; it is a list"),
        ({"channels": []}, "at least one name"),
        ({"channels": ["a b"]}, "'a b' is no name of a channel"),
        ({"concurrency": 0}, "at least 1 job"),
        ({"concurrency": sys.maxsize}, "at most 10,000"),
        ({"name": ""}, "1 to 150 printable characters"),
        ({"name": "n" * 151}, "1 to 150 printable characters"),
        ({"name": "a\0b"}, "1 to 150 printable characters"),
        ({"grace": -1}, "must not be negative"),
    ],
    ids=str,
)
def test_a_worker_that_cannot_work_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Worker(**options)


async def test_the_grace_time_may_be_given_in_seconds(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker(grace=0)
    begun = asyncio.Event()

    @worker.job()
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    job = await queue.enqueue("endless")
    async with running(worker, broker_url, namespace):
        await asyncio.wait_for(begun.wait(), PATIENCE)
    status = await queue.job_status(job)
    assert (status.state, status.attempt) == (State.QUEUED, 1)
