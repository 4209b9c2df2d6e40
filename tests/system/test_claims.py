"""Jobs that are started only with the scheduler's consent: second deliveries, and where it is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker_queue.client import JobQueue
from broker_queue.deliveries import Deliveries
from broker_queue.job import State
from broker_queue.requests import Requests
from broker_queue.running import Job
from broker_queue.worker import Worker
from tests.support.raw import RawClient
from tests.support.schedulers import SchedulerProcess
from tests.support.waiting import PATIENCE
from tests.support.workers import running


def noting(*, claim: bool = False) -> tuple[Worker, list[str]]:
    """A worker that notes which jobs it starts."""
    worker, started = Worker(concurrency=1), []

    @worker.job("a", claim=claim)
    async def note(job: Job) -> int:
        started.append(job.id)
        return job.attempt

    return worker, started


async def test_a_canceled_job_whose_worker_died_is_not_started_by_another(
    queue: JobQueue, raw: RawClient, broker_url: str, namespace: str
) -> None:
    job = await queue.enqueue("a")
    async with RawClient(broker_url, namespace) as dying:
        delivery = await dying.take("a")
        await dying.report("started", delivery.correlation_id, {"worker": "dying"})
        await queue.cancel_job(job)
    worker, started = noting()
    async with running(worker, broker_url, namespace):
        other = await queue.enqueue("a")
        assert await queue.result(other, timeout=PATIENCE) == 1
    assert started == [other]
    assert await raw.count(raw.names.job_queue("a")) == 0


async def test_what_was_done_is_not_done_again_when_only_its_acknowledgement_was_lost(
    queue: JobQueue, raw: RawClient, broker_url: str, namespace: str
) -> None:
    job = await queue.enqueue("a")
    async with RawClient(broker_url, namespace) as dying:
        delivery = await dying.take("a")
        await dying.report("finished", delivery.correlation_id, b"7")
    worker, started = noting()
    async with running(worker, broker_url, namespace):
        other = await queue.enqueue("a")
        assert await queue.result(other, timeout=PATIENCE) == 1
    assert started == [other]
    assert await queue.result(job) == 7


async def test_a_redelivered_job_that_nobody_ended_runs(
    queue: JobQueue, raw: RawClient, broker_url: str, namespace: str
) -> None:
    job = await queue.enqueue("a")
    async with RawClient(broker_url, namespace) as dying:
        await dying.take("a")
    worker, started = noting()
    async with running(worker, broker_url, namespace):
        assert await queue.result(job, timeout=PATIENCE) == 1
        assert (await queue.job_status(job)).worker == worker.name
    assert started == [job]


async def test_the_second_copy_of_a_canceled_job_is_not_started(
    broker_url: str, namespace: str, database: Path
) -> None:
    dying = SchedulerProcess(
        url=broker_url, namespace=namespace, database=database, failpoint="after_confirm:1"
    )
    scheduler = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
    await dying.start()
    async with (
        JobQueue(broker_url, namespace=namespace) as queue,
        RawClient(broker_url, namespace) as raw,
    ):
        job = await queue.enqueue("a")
        await dying.ended()  # the broker has the job, and that is not noted
        await scheduler.start()
        first = await raw.take("a")
        assert first.message_id == job
        assert await raw.count(raw.names.job_queue("a")) == 1  # which nobody was given yet
        await queue.cancel_job(job)
        await raw.report("released", first.correlation_id, {"reason": "canceled"})
        await first.acknowledge()
        worker, started = noting()
        async with running(worker, broker_url, namespace):
            other = await queue.enqueue("a")
            assert await queue.result(other, timeout=PATIENCE) == 1
        assert started == [other]
        assert await raw.count(raw.names.job_queue("a")) == 0
    await scheduler.terminate()


async def test_a_job_that_is_claimed_is_not_started_after_its_cancel_whatever_the_worker_heard(
    queue: JobQueue, broker_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deliveries, "cancel", lambda _deliveries, _tokens: None)  # it is deaf
    worker, started = noting(claim=True)
    canceled = [await queue.enqueue("a") for _ in range(5)]
    for job in canceled:
        await queue.cancel_job(job)
    async with running(worker, broker_url, namespace):
        other = await queue.enqueue("a")
        assert await queue.result(other, timeout=PATIENCE) == 1
    assert started == [other]
    deaf, heard_nothing = noting()
    canceled = await queue.enqueue("a")  # and without a claim it would be
    await queue.cancel_job(canceled)
    async with running(deaf, broker_url, namespace):
        last = await queue.enqueue("a")
        assert await queue.result(last, timeout=PATIENCE) == 1
    assert heard_nothing == [canceled, last]
    assert (await queue.job_status(canceled)).state is State.CANCELED


async def test_a_worker_that_stops_while_it_claims_hands_the_job_back(
    queue: JobQueue,
    raw: RawClient,
    broker_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker, started = noting(claim=True)
    worker.grace = 0.1
    asked = asyncio.Event()

    async def unanswered(*_arguments: Any, **_options: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Requests, "report", unanswered)
    async with running(worker, broker_url, namespace):
        job = await queue.enqueue("a")
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
    delivery = await raw.take("a")
    assert delivery.message_id == job
    assert not delivery.redelivered  # it is a new hand-over, at once
    assert started == []


@pytest.mark.parametrize("kind", ["started", "progress", "heartbeat"])
async def test_who_says_that_a_canceled_job_runs_is_told_once_more(
    queue: JobQueue, raw: RawClient, kind: str
) -> None:
    job = await queue.enqueue("a")
    delivery = await raw.take("a")
    await queue.cancel_job(job)
    told: asyncio.Queue[bytes] = asyncio.Queue()
    control = (await raw.channel.underlying.queue_declare(exclusive=True)).queue or ""
    await raw.channel.underlying.queue_bind(control, raw.names.control, "a")
    await raw.channel.consume(
        control, lambda message: told.put_nowait(message.body), prefetch=0, no_ack=True
    )
    await raw.tell(kind, delivery.correlation_id, {})
    async with asyncio.timeout(PATIENCE):
        body = await told.get()
    assert body == f'{{"tokens":["{delivery.correlation_id}"]}}'.encode()
