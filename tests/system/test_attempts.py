"""Attempts: back-off, limits, time-outs, hand-backs, delivery limits, delays."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from broker_queue.client import JobQueue
from broker_queue.job import State
from broker_queue.protocol.messages import Backoff
from scheduler import work
from scheduler.rules import lifecycle
from tests.support.ends import fail, finish
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, until


async def test_the_wait_before_each_attempt_grows_until_the_last_one_failed(
    queue: JobQueue, raw: RawClient
) -> None:
    backoff = Backoff(initial=0.02, factor=3, jitter=0)
    job = await queue.enqueue("a", max_attempts=4, backoff=backoff)
    waits = []
    for attempt in (1, 2, 3):
        delivery = await raw.take("a")
        assert (delivery.headers["attempt"], delivery.headers["max_attempts"]) == (attempt, 4)
        before = (await queue.job_status(job)).available_at
        await raw.report("failed", delivery.correlation_id, {"message": f"attempt {attempt}"})
        await delivery.acknowledge()
        status = await queue.job_status(job)
        assert status.available_at is not None
        waits.append(status.available_at - (before or status.queued))
        assert status.error is not None
        assert status.error.message == f"attempt {attempt}"
    await fail(raw, "a", retry=True)
    status = await queue.job_status(job)
    assert (status.state, status.attempt) == (State.FAILED, 4)
    least = [timedelta(seconds=0.02 * 3**attempt) for attempt in range(3)]
    assert all(wait >= bound for wait, bound in zip(waits, least, strict=True))


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 1000), (1.0, 600), (0.5, 800)])
async def test_the_share_of_a_back_off_that_is_left_to_chance_is_taken_off(
    queue: JobQueue, raw: RawClient, monkeypatch: pytest.MonkeyPatch, chance: float, seconds: int
) -> None:
    monkeypatch.setattr(work, "chance", lambda: chance)
    backoff = Backoff(initial=1000, jitter=0.4)
    job = await queue.enqueue("a", max_attempts=2, backoff=backoff)
    await fail(raw, "a", retry=True)
    status = await queue.job_status(job)
    assert status.available_at is not None
    wait = status.available_at - status.queued
    assert timedelta(seconds=seconds) <= wait < timedelta(seconds=seconds + PATIENCE)


async def test_a_report_may_forbid_the_next_attempt_or_set_its_delay(
    queue: JobQueue, raw: RawClient
) -> None:
    hopeless = await queue.enqueue("a", max_attempts=9)
    await fail(raw, "a", retry=False)
    status = await queue.job_status(hopeless)
    assert (status.state, status.attempt) == (State.FAILED, 1)
    later = await queue.enqueue("a", max_attempts=2)
    delivery = await raw.take("a")
    await raw.report("failed", delivery.correlation_id, {"delay": 50})
    status = await queue.job_status(later)
    assert status.state is State.SCHEDULED
    assert status.available_at is not None
    wait = status.available_at - status.queued
    assert timedelta(seconds=50) <= wait < timedelta(seconds=50 + PATIENCE)


async def test_a_job_handed_back_unrun_has_used_no_attempt(queue: JobQueue, raw: RawClient) -> None:
    job = await queue.enqueue("a")
    tokens = set()
    for _ in range(5):
        delivery = await raw.take("a")
        assert delivery.headers["attempt"] == 1
        tokens.add(delivery.correlation_id)
        answer = await raw.report("released", delivery.correlation_id, {"reason": "busy"})
        assert answer == ("accepted", {"state": "queued"})
        await delivery.acknowledge()
    await finish(raw, "a")
    assert len(tokens) == 5
    status = await queue.job_status(job)
    assert (status.state, status.attempt) == (State.FINISHED, 1)


async def test_a_worker_that_says_nothing_after_it_started_is_timed_out(
    queue: JobQueue, raw: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "TIMEOUT_GRACE", 10)
    job = await queue.enqueue("a", timeout=0.05, max_attempts=2, backoff=timedelta(0))
    after = await queue.enqueue(None, dependencies=[job])
    first = await raw.take("a")
    await raw.report("started", first.correlation_id, {"worker": "silent"})
    second = await raw.take("a")
    assert second.headers["attempt"] == 2
    assert (await raw.report("finished", first.correlation_id, b"1")).type == "stale"
    await raw.report("started", second.correlation_id, {})
    status = await queue.wait(job, timeout=PATIENCE)
    assert (status.state, status.attempt) == (State.FAILED, 2)
    assert status.error is not None
    assert (status.error.code, "0.05 s" in status.error.message) == ("timeout", True)
    assert (await queue.job_status(after)).skipped_because == job


async def test_a_job_that_kills_its_workers_fails_at_the_delivery_limit(
    broker_url: str, namespace: str, database: Path
) -> None:
    scheduler = RunningScheduler(
        url=broker_url, namespace=namespace, database=database, delivery_limit=2
    )
    async with (
        scheduler,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        job = await queue.enqueue("deadly", max_attempts=5)
        for _ in range(3):
            async with RawClient(broker_url, namespace) as worker:
                await worker.take("deadly")
        status = await queue.wait(job, timeout=PATIENCE)
    assert status.state is State.FAILED
    assert status.error is not None
    assert status.error.code == "worker_died"
    assert "deliveries" in status.error.message


async def test_a_job_that_its_worker_rejects_fails(queue: JobQueue, raw: RawClient) -> None:
    job = await queue.enqueue("a")
    await (await raw.take("a")).reject()
    status = await queue.wait(job, timeout=PATIENCE)
    assert status.error is not None
    assert (status.error.code, "rejected" in status.error.message) == ("dead_letter", True)


async def test_a_delayed_job_is_available_when_its_time_has_come(
    queue: JobQueue, raw: RawClient
) -> None:
    moment = (await queue.info()).since
    past = await queue.enqueue("past", available_at=moment)
    waiting = await queue.enqueue("waiting", delay=60)
    soon = await queue.enqueue("soon", delay=0.2)
    after = await queue.enqueue(None, dependencies=[soon])
    late = await queue.enqueue("late", available_at=moment + timedelta(days=1))
    assert (await queue.job_status(past)).state is State.QUEUED
    assert (await queue.job_status(waiting)).state is State.SCHEDULED
    await finish(raw, "soon")
    status = await queue.job_status(soon)
    assert status.started is not None
    assert status.started - status.queued >= timedelta(seconds=0.2)
    assert (await queue.wait(after, timeout=PATIENCE)).state is State.FINISHED
    assert (await queue.job_status(late)).available_at == moment + timedelta(days=1)


async def test_a_delay_counts_on_while_a_job_waits_for_others(
    queue: JobQueue, raw: RawClient
) -> None:
    first = await queue.enqueue("first", delay=0.1)
    second = await queue.enqueue("second", delay=0.05, dependencies=[first])

    async def is_queued() -> bool:
        return (await queue.job_status(second)).state is State.QUEUED

    await finish(raw, "first")
    await until(is_queued)
