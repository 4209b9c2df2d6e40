"""Leases: jobs that outlast the broker's patience run once; a worker that falls silent is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker_queue import deliveries, leasing
from broker_queue.amqp.channel import Channel, Delivery
from broker_queue.client import JobQueue
from broker_queue.job import State
from broker_queue.local_broker.node import PrivateNode
from scheduler import hearing
from tests.support.leases import leased_until, until_leased
from tests.support.proxy import Proxy
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, TIMEOUT_FACTOR, until
from tests.support.workers import Held, running

LEASE = 1.0 * TIMEOUT_FACTOR
SOON = 0.1


@pytest.fixture
async def scheduler(
    broker_url: str, namespace: str, database: Path
) -> AsyncIterator[RunningScheduler]:
    """A scheduler that grants leases early and for a moment only."""
    async with with_leases(broker_url, namespace, database) as started:
        yield started


def with_leases(url: str, namespace: str, database: Path, **settings: Any) -> RunningScheduler:
    known = {"lease_after": SOON, "lease_duration": LEASE, "delivery_limit": 3}
    return RunningScheduler(url=url, namespace=namespace, database=database, **known | settings)


async def take_a_lease(raw: RawClient, job_type: str = "long") -> Delivery:
    """Take a job, and acknowledge it once the lease on it is granted."""
    delivery = await raw.take(job_type)
    answer = await raw.report("lease", delivery.correlation_id, {"worker": "by hand"})
    assert answer.type == "accepted"
    assert answer.body == {"state": "running", "lease": LEASE}
    await delivery.acknowledge()
    return delivery


async def test_a_job_with_a_lease_outlives_the_connection_of_its_worker(
    queue: JobQueue, raw: RawClient, broker_url: str, namespace: str, database: Path
) -> None:
    held = Held()
    async with Proxy(broker_url) as proxy, running(held.worker, proxy.url, namespace):
        job = await queue.enqueue("long")
        first = await until_leased(database, job)
        second = await until_leased(
            database, job, after=first
        )  # a heartbeat, so it is acknowledged
        proxy.cut()
        await until_leased(database, job, after=second)
        assert await raw.count(raw.names.job_queue("long")) == 0  # it was not put back
        held.may_end.set()
        status = await queue.wait(job, timeout=PATIENCE)
    assert status.result == "done"
    assert status.worker == held.worker.name
    assert held.runs == [job]


async def test_heartbeats_keep_a_job_and_silence_loses_it(queue: JobQueue, raw: RawClient) -> None:
    job = await queue.enqueue("long")
    first = await take_a_lease(raw)
    began = time.monotonic()
    while time.monotonic() < began + 1.5 * LEASE:
        answer = await raw.report("heartbeat", first.correlation_id, {"worker": "by hand"})
        assert answer.type == "accepted"
        await asyncio.sleep(LEASE / 10)
    second = await raw.take("long")
    assert second.message_id == job
    assert second.correlation_id != first.correlation_id
    assert second.headers["attempt"] == 1  # a lost worker is no failed attempt
    assert (await raw.report("heartbeat", first.correlation_id, {})).type == "stale"
    assert (await raw.report("finished", first.correlation_id, b"1")).type == "stale"
    assert (await raw.report("finished", second.correlation_id, b"2")).type == "accepted"
    assert (await queue.job_status(job)).result == 2


async def test_a_job_that_loses_worker_after_worker_fails(
    queue: JobQueue, raw: RawClient, caplog: pytest.LogCaptureFixture
) -> None:
    job = await queue.enqueue("long", max_attempts=5)
    for _ in range(3):
        await take_a_lease(raw)
    status = await queue.wait(job, timeout=PATIENCE)
    assert status.state is State.FAILED
    assert status.error is not None
    assert status.error.code == "worker_died"
    assert "3 times; the last one was by hand" in status.error.message
    told = [record.getMessage() for record in caplog.records if "fell silent" in record.msg]
    assert [text.rpartition("; ")[2] for text in told] == [
        "the job is handed to another",
        "the job is handed to another",
        "the job fails",
    ]


async def test_a_worker_that_was_silent_is_told_to_stop_and_gets_the_job_anew(
    queue: JobQueue, broker_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    monkeypatch.setattr(leasing, "HEARTBEATS", 1e-6)  # its heart beats once in years
    async with running(held.worker, broker_url, namespace):
        job = await queue.enqueue("long")

        async def runs_again() -> bool:
            return len(held.runs) == 2

        await until(runs_again)
        assert held.stopped == 1
        held.may_end.set()
        assert (await queue.wait(job, timeout=PATIENCE)).result == "done"


async def test_a_report_without_a_name_or_out_of_time_changes_nothing_else(
    queue: JobQueue, raw: RawClient
) -> None:
    job = await queue.enqueue("long")
    delivery = await raw.take("long")
    answer = await raw.report("lease", delivery.correlation_id, b"")
    assert answer.type == "accepted"
    assert (await queue.job_status(job)).worker is None
    await queue.cancel_job(job)
    assert (await raw.report("heartbeat", delivery.correlation_id, {})).type == "canceled"
    late = await queue.enqueue("long")
    delivery = await raw.take("long")
    await raw.report("finished", delivery.correlation_id, b"1")
    assert (await raw.report("lease", delivery.correlation_id, {})).type == "stale"
    assert (await queue.job_status(late)).result == 1
    wrong = await queue.enqueue("long")
    delivery = await raw.take("long")
    await raw.report("lease", delivery.correlation_id, {"worker": 1})
    status = await queue.wait(wrong, timeout=PATIENCE)
    assert status.error is not None
    assert status.error.code == "invalid_report"


async def test_the_time_limit_ends_a_job_with_a_lease_too(queue: JobQueue, raw: RawClient) -> None:
    job = await queue.enqueue("long", timeout=0.001)
    delivery = await take_a_lease(raw)

    async def is_over() -> bool:
        answer = await raw.report("heartbeat", delivery.correlation_id, {})
        return answer.type == "stale"

    await until(is_over)
    error = (await queue.job_status(job)).error
    assert error is not None
    assert error.code == "timeout"


async def test_after_a_restart_no_worker_is_lost_before_it_could_be_heard(
    broker_url: str, namespace: str, database: Path
) -> None:
    async with RawClient(broker_url, namespace) as raw:
        async with (
            with_leases(broker_url, namespace, database),
            JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        ):
            job = await queue.enqueue("long")
            delivery = await take_a_lease(raw)
        until_when = leased_until(database, job)
        assert until_when is not None

        async def is_past() -> bool:
            return time.time_ns() // 1_000_000 > until_when + 100

        await until(is_past)
        async with with_leases(broker_url, namespace, database):
            answer = await raw.report("heartbeat", delivery.correlation_id, {})
            assert answer.type == "accepted"
            second = await raw.take("long")  # and is, when nobody is heard any more
            assert second.correlation_id != delivery.correlation_id


async def test_after_a_pause_of_the_scheduler_no_worker_is_lost_at_once(
    queue: JobQueue,
    raw: RawClient,
    scheduler: RunningScheduler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hearing, "LONG_PAUSE", LEASE * 500)
    await queue.enqueue("long")
    delivery = await take_a_lease(raw)
    assert scheduler._loop is not None
    scheduler._loop.call_soon_threadsafe(time.sleep, 2.5 * LEASE)  # as if it had been stopped
    answer = await raw.report("heartbeat", delivery.correlation_id, {})
    assert answer.type == "accepted"


async def test_a_worker_that_is_busy_by_lease_holds_no_other_job_back(
    queue: JobQueue,
    broker_url: str,
    namespace: str,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliveries, "LONGEST_WAIT", 0.05)
    busy, idle = Held(), Held()
    idle.may_end.set()
    async with running(busy.worker, broker_url, namespace):
        first = await queue.enqueue("long")
        await until_leased(database, first)
        second = await queue.enqueue("long")
        async with running(idle.worker, broker_url, namespace):
            status = await queue.wait(second, timeout=PATIENCE)
            assert status.attempt == 1
            assert idle.runs == [second]
        busy.may_end.set()
        assert (await queue.wait(first, timeout=PATIENCE)).result == "done"
        third = await queue.enqueue("long")
        assert (await queue.wait(third, timeout=PATIENCE)).result == "done"
    assert busy.runs == [first, third]


async def test_a_job_that_ends_in_the_moment_of_its_lease_costs_no_connection(
    queue: JobQueue,
    broker_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = Held()
    stop_consuming = Channel.stop_consuming

    async def ends_its_job(channel: Channel, consumer_tag: str) -> None:
        held.may_end.set()
        await stop_consuming(channel, consumer_tag)

    monkeypatch.setattr(Channel, "stop_consuming", ends_its_job)
    async with running(held.worker, broker_url, namespace):
        for _ in range(5):
            held.may_end.clear()
            job = await queue.enqueue("long")
            assert (await queue.wait(job, timeout=PATIENCE)).result == "done"
    assert "no connection" not in caplog.text


async def test_a_worker_of_two_types_hands_back_what_it_has_no_slot_for(
    queue: JobQueue,
    raw: RawClient,
    broker_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliveries, "LONGEST_WAIT", 0.05)
    busy = Held()
    busy.worker.register("other", busy.long)
    async with running(busy.worker, broker_url, namespace):
        first = await queue.enqueue("long")

        async def runs() -> bool:
            return bool(busy.runs)

        await until(runs)
        second = await queue.enqueue("other")
        delivery = await raw.take("other")  # it came back as a new message
        assert delivery.message_id == second
        assert not delivery.headers.get("x-delivery-count")

        await delivery.requeue()
        await raw.until_ready(raw.names.job_queue("other"), 1)  # it is left alone
        busy.may_end.set()
        for job in (first, second):
            assert (await queue.wait(job, timeout=PATIENCE)).result == "done"
    assert busy.runs == [first, second]


async def test_a_dequeued_job_is_held_by_lease_as_well(
    broker_url: str, namespace: str, database: Path, scheduler: RunningScheduler
) -> None:
    async with Proxy(broker_url) as proxy:
        async with JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as client:
            kept, returned = await client.enqueue("long"), await client.enqueue("long")
            job = await client.dequeue("long", timeout=PATIENCE)
            assert job.id == kept
            first = await until_leased(database, kept)
            second = await until_leased(database, kept, after=first)
            proxy.cut()
            await until_leased(database, kept, after=second)
            await client.finish_job(job, 1)
            assert (await client.job_status(kept)).result == 1
            await client.dequeue("long", timeout=PATIENCE)
            await until_leased(database, returned, after=await until_leased(database, returned))
        async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as another:
            job = await another.dequeue("long", timeout=PATIENCE)  # it was handed back, not lost
            assert (job.id, job.attempt) == (returned, 1)


PATIENCE_OF_BROKER = 3.0


@pytest.fixture
def impatient_broker(server: Path, tmp_path: Path) -> Iterator[PrivateNode]:
    """A node that takes back what is not acknowledged within seconds, and looks every second."""
    timeout = {"consumer_timeout": str(round(PATIENCE_OF_BROKER * 1000))}
    tick = {"channel_tick_interval": "500"}
    with PrivateNode(tmp_path / "node", configuration=timeout, environment=tick) as node:
        yield node


@asynccontextmanager
async def two_workers(url: str, namespace: str) -> AsyncIterator[tuple[Held, Held]]:
    """Two workers of one slot each, of which the second takes what the first one loses."""
    workers = Held(), Held()
    async with (
        running(workers[0].worker, url, namespace),
        running(workers[1].worker, url, namespace),
    ):
        yield workers
        for each in workers:
            each.may_end.set()


@pytest.mark.timeout(240)
async def test_a_job_longer_than_the_patience_of_the_broker_runs_once(
    impatient_broker: PrivateNode, namespace: str, tmp_path: Path
) -> None:
    """While one without a lease, begun later, is taken back and runs again."""
    url, other = impatient_broker.url, f"{namespace}-without"
    async with (
        with_leases(url, namespace, tmp_path / "with.sqlite3"),
        with_leases(url, other, tmp_path / "without.sqlite3", lease_after=3600),
        JobQueue(url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        JobQueue(url, namespace=other, timeout=ANSWER_TIMEOUT) as other_queue,
        two_workers(url, namespace) as leasing_workers,
        two_workers(url, other) as other_workers,
    ):
        job = await queue.enqueue("long")

        async def runs() -> bool:
            return any(each.runs for each in leasing_workers)

        await until(runs)
        without = await other_queue.enqueue("long")

        async def runs_twice() -> bool:
            return all(each.runs == [without] for each in other_workers)

        await until(runs_twice, 3 * PATIENCE)
        assert [*leasing_workers[0].runs, *leasing_workers[1].runs] == [job]
        for each in (*leasing_workers, *other_workers):
            each.may_end.set()
        for client, identity in ((queue, job), (other_queue, without)):
            assert (await client.wait(identity, timeout=PATIENCE)).result == "done"
    assert [*leasing_workers[0].runs, *leasing_workers[1].runs] == [job]
