"""Jobs that a worker was given and has not begun: they are neither kept from others nor taken from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from broker_queue import deliveries
from broker_queue.amqp.channel import Channel, Delivery
from broker_queue.client import JobQueue
from broker_queue.deliveries import Deliveries
from broker_queue.errors import Unavailable
from broker_queue.intake import Intake
from broker_queue.requests import Reported, Requests
from tests.support.proxy import Proxy
from tests.support.raw import RawClient
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, until
from tests.support.workers import Held, running


@pytest.fixture
async def proxy(broker_url: str) -> AsyncIterator[Proxy]:
    """The worker's way to the broker."""
    async with Proxy(broker_url) as started:
        yield started


async def taken_from(proxy: Proxy, raw: RawClient, job_type: str) -> Delivery:
    """Cut the worker off, and begin the job whose message it had, as another worker does."""
    proxy.freeze()
    proxy.cut()
    delivery = await raw.take(job_type)
    answer = await raw.report("started", delivery.correlation_id, {"worker": "another"})
    assert answer.type == "accepted"
    return delivery


async def assert_still_mine(raw: RawClient, delivery: Delivery) -> None:
    """Nobody has given the job back meanwhile."""
    answer = await raw.report("finished", delivery.correlation_id, b"1")
    assert (answer.type, answer.body["state"]) == ("accepted", "finished")


async def has_begun(held: Held) -> None:
    async def begun() -> bool:
        return bool(held.runs)

    await until(begun)


def when_claimed(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[None]], *, before: bool = False
) -> None:
    """Have something happen just before, or after, the first claim was answered."""
    report, claims = Requests.report, 0

    async def reported(self: Requests, kind: str, *args: Any, **more: Any) -> Reported:
        nonlocal claims
        claims += kind == "started"
        is_it = kind == "started" and claims == 1
        if is_it and before:
            await happens()
        found = await report(self, kind, *args, **more)
        if is_it and not before:
            await happens()
        return found

    monkeypatch.setattr(Requests, "report", reported)


async def test_a_slot_that_becomes_free_while_less_is_consumed_is_used(
    queue: JobQueue, broker_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, is_free = Held(), asyncio.Event()
    held.worker.register("other", held.long)
    stop_consuming, release = Channel.stop_consuming, Intake.release

    async def ends_its_job(channel: Channel, consumer_tag: str) -> None:
        held.may_end.set()
        await is_free.wait()
        await stop_consuming(channel, consumer_tag)

    def noted(intake: Intake) -> None:
        release(intake)
        is_free.set()

    monkeypatch.setattr(deliveries, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(Channel, "stop_consuming", ends_its_job)
    monkeypatch.setattr(Intake, "release", noted)
    async with running(held.worker, broker_url, namespace):
        first = await queue.enqueue("long")
        await has_begun(held)
        second = await queue.enqueue("other")
        for job in (first, second):
            assert (await queue.wait(job, timeout=PATIENCE)).result == "done"


async def test_a_job_that_waits_for_a_slot_is_not_given_back_once_its_message_is_lost(
    queue: JobQueue,
    raw: RawClient,
    proxy: Proxy,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, was_given = Held(), asyncio.Event()
    held.worker.register("other", held.long)
    take = Deliveries.take

    def noted(self: Deliveries, delivery: Delivery) -> None:
        take(self, delivery)
        if delivery.type == "other":
            was_given.set()

    monkeypatch.setattr(Deliveries, "take", noted)
    async with running(held.worker, proxy.url, namespace):
        await queue.enqueue("long")
        await has_begun(held)
        await queue.enqueue("other")
        await was_given.wait()
        delivery = await taken_from(proxy, raw, "other")
        held.worker.stop()
        held.may_end.set()
        proxy.thaw()
    await assert_still_mine(raw, delivery)
    assert len(held.runs) == 1


async def test_a_claim_that_is_granted_after_the_message_was_lost_starts_nothing(
    queue: JobQueue,
    raw: RawClient,
    proxy: Proxy,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, taken = Held(), asyncio.Queue[Delivery]()
    held.may_end.set()
    held.worker.register("claimed", held.long, claim=True)

    async def lose_it() -> None:
        taken.put_nowait(await taken_from(proxy, raw, "claimed"))

    when_claimed(monkeypatch, lose_it)
    async with running(held.worker, proxy.url, namespace):
        await queue.enqueue("claimed")
        delivery = await taken.get()

        async def is_idle() -> bool:
            return not held.worker._deliveries.running

        await until(is_idle)
        assert not held.runs
        proxy.thaw()
        await assert_still_mine(raw, delivery)
        another = await queue.enqueue("claimed")
        assert (await queue.wait(another, timeout=PATIENCE)).result == "done"
    assert held.runs == [another]


async def test_a_job_that_waits_for_its_claim_is_not_begun_when_the_worker_stops(
    queue: JobQueue, broker_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, is_claimed = Held(), asyncio.Event()
    held.worker.register("claimed", held.long, claim=True)

    async def keep_waiting() -> None:
        is_claimed.set()
        await asyncio.Future()

    when_claimed(monkeypatch, keep_waiting)
    held.worker.grace = 100 * PATIENCE
    async with asyncio.timeout(PATIENCE), running(held.worker, broker_url, namespace):
        job = await queue.enqueue("claimed")
        await is_claimed.wait()
    assert not held.runs
    status = await queue.job_status(job)
    assert (status.state, status.attempt) == ("queued", 1)


async def test_a_dequeue_gives_no_job_back_whose_message_it_has_lost(
    queue: JobQueue,
    raw: RawClient,
    proxy: Proxy,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = asyncio.Queue[Delivery]()

    async def lose_it() -> None:
        taken.put_nowait(await taken_from(proxy, raw, "build"))
        proxy.thaw()
        raise Unavailable("the connection was lost")

    when_claimed(monkeypatch, lose_it, before=True)
    await queue.enqueue("build")
    async with JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as cut:
        dequeue = asyncio.create_task(cut.dequeue("build", timeout=PATIENCE))
        delivery = await taken.get()
        another = await queue.enqueue("build")
        assert (await dequeue).id == another
        await assert_still_mine(raw, delivery)
