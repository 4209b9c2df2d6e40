"""Cancels that reach a worker at once, by control message: its regular greeting is out of the way."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from broker_queue import worker as worker_module
from broker_queue.client import JobQueue
from broker_queue.job import State
from broker_queue.running import Job
from broker_queue.worker import Worker
from tests.support.waiting import PATIENCE, until
from tests.support.workers import running


@pytest.fixture(autouse=True)
def _greets_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "FIRST_PAUSE", 3600.0)


async def test_a_coroutine_is_stopped_at_once(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()
    begun, ended = asyncio.Event(), asyncio.Event()

    @worker.job()
    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(worker, broker_url, namespace):
        job = await queue.enqueue("endless")
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            await queue.cancel_job(job)
            await ended.wait()
        assert (await queue.job_status(job)).state is State.CANCELED


async def test_a_plain_function_sees_at_once_that_it_is_canceled(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()
    begun, ended = threading.Event(), threading.Event()

    @worker.job()
    def polling(job: Job) -> None:
        begun.set()
        end = time.monotonic() + 2 * PATIENCE
        while not job.canceled and time.monotonic() < end:
            time.sleep(0.001)
        if job.canceled:
            ended.set()

    async with running(worker, broker_url, namespace):
        job = await queue.enqueue("polling")
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        await queue.cancel_job(job)
        assert await asyncio.to_thread(ended.wait, PATIENCE)


async def test_a_job_canceled_while_it_waits_in_the_worker_for_its_turn_never_runs(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker(concurrency=1)
    begun = asyncio.Event()
    ran: list[str] = []

    @worker.job()
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    @worker.job()
    async def note(job: Job) -> None:
        ran.append(job.id)

    async with running(worker, broker_url, namespace):
        before = await queue.enqueue("endless")
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
        held = await queue.enqueue("note")

        async def is_held() -> bool:
            return len(worker._deliveries._held) == 2

        await until(is_held)
        await queue.cancel_job(held)
        await queue.cancel_job(before)  # which it hears after the other
        wanted = await queue.enqueue("note")
        assert (await queue.wait(wanted, timeout=PATIENCE)).state is State.FINISHED
    assert ran == [wanted]
