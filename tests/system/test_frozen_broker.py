"""A broker that holds its connections and answers nothing: it is noticed, and work goes on later."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from yarl import URL

from broker_queue import execution
from broker_queue.amqp import channel, connection
from broker_queue.client import JobQueue
from broker_queue.errors import Unavailable
from broker_queue.graph import new_job_id
from broker_queue.job import State
from broker_queue.running import Job
from broker_queue.worker import Worker
from tests.support.ends import finish
from tests.support.proxy import Proxy
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, SHORT_TIMEOUT, until
from tests.support.workers import running

CONNECTIONS = 4
"""Of a scheduler and a worker: each has one for publishing and one for consuming."""

TRIES = 3
"""To connect, while the broker is frozen."""


@pytest.fixture
async def proxy(broker_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(broker_url) as started:
        yield started


def impatient(proxy: Proxy) -> str:
    """The URL through the proxy, with the shortest heartbeat there is."""
    return str(URL(proxy.url).update_query(heartbeat="1"))


class Told:
    """What the log says about the connections of a test's scheduler and worker."""

    def __init__(self, caplog: pytest.LogCaptureFixture, namespace: str) -> None:
        self._caplog = caplog
        self._namespace = namespace
        caplog.set_level(logging.DEBUG, "broker_queue.amqp.connection")

    def lines(self, text: str, level: int = logging.INFO) -> Counter[str]:
        """How often it says this of each connection."""
        pattern = re.compile(rf"{text} .*?\(((worker )?{self._namespace}[^)]*)\)")
        return Counter(
            found[1]
            for record in self._caplog.records
            if record.levelno >= level and (found := pattern.match(record.getMessage()))
        )

    async def all_try_in_vain(self) -> None:
        """Return once every connection was tried again and again."""

        async def tried() -> bool:
            tries = self.lines("no connection to", logging.DEBUG)
            return len(tries) == CONNECTIONS and min(tries.values()) >= TRIES

        await until(tried, 2 * PATIENCE)


CALLS: list[Callable[[JobQueue], Awaitable[object]]] = [
    lambda queue: queue.info(),
    lambda queue: queue.enqueue("a"),
    lambda queue: queue.wait(new_job_id()),
    lambda queue: queue.dequeue("a"),
]


@pytest.mark.parametrize("call", CALLS)
async def test_a_client_says_within_its_timeout_that_nobody_answers(
    scheduler: RunningScheduler,
    proxy: Proxy,
    namespace: str,
    call: Callable[[JobQueue], Awaitable[object]],
) -> None:
    async with JobQueue(proxy.url, namespace=namespace, timeout=SHORT_TIMEOUT) as client:
        await client.info()
        proxy.freeze()
        begun = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await call(client)
        assert asyncio.get_running_loop().time() - begun < 1.5 * SHORT_TIMEOUT


async def test_who_connects_to_a_frozen_broker_hears_so_within_the_timeout(
    proxy: Proxy, namespace: str
) -> None:
    proxy.freeze()
    begun = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await JobQueue(proxy.url, namespace=namespace, timeout=SHORT_TIMEOUT).connect()
    assert asyncio.get_running_loop().time() - begun < 1.5 * SHORT_TIMEOUT


async def test_who_waits_without_a_limit_is_answered_once_the_broker_answers(
    raw: RawClient, queue: JobQueue, proxy: Proxy, namespace: str
) -> None:
    await queue.enqueue("b")
    await finish(raw, "b")
    job = await queue.enqueue("a")
    async with JobQueue(impatient(proxy), namespace=namespace, timeout=ANSWER_TIMEOUT) as client:
        waiting = asyncio.create_task(client.wait(job))
        dequeuing = asyncio.create_task(client.dequeue("b"))
        await raw.until_consumed(raw.names.job_queue("b"), 1)
        proxy.freeze()
        session = await client._requests.session(0)
        assert await finish(raw, "a") == job
        async with asyncio.timeout(PATIENCE):
            await asyncio.shield(session.lost)
        following = await queue.enqueue("b")
        proxy.thaw()
        assert (await asyncio.wait_for(waiting, PATIENCE)).state is State.FINISHED
        assert (await asyncio.wait_for(dequeuing, PATIENCE)).id == following


async def test_scheduler_and_worker_notice_it_and_go_on_and_no_job_runs_twice(
    proxy: Proxy,
    broker_url: str,
    namespace: str,
    database: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CALL_TIMEOUT", SHORT_TIMEOUT / 2)
    told = Told(caplog, namespace)
    url = impatient(proxy)
    worker = Worker(name=f"{namespace} worker", concurrency=2)
    ran: Counter[str] = Counter()
    go_on = asyncio.Event()

    @worker.job()
    async def a(job: Job) -> int:
        ran[job.id] += 1
        if job.raw_args == b"true":
            await go_on.wait()
        return job.attempt

    async with (
        RunningScheduler(url=url, namespace=namespace, database=database),
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        running(worker, url, namespace),
    ):
        ended_meanwhile, goes_on = [await queue.enqueue("a", True) for _ in range(2)]

        async def both_run() -> bool:
            return sum(ran.values()) == 2

        await until(both_run)
        behind = [await queue.enqueue("a", False) for _ in range(20)]
        caplog.clear()
        proxy.freeze()
        await told.all_try_in_vain()
        enqueuing = asyncio.create_task(queue.enqueue("a", False))
        go_on.set()
        proxy.thaw()
        jobs = [ended_meanwhile, goes_on, *behind, await enqueuing]
        statuses = await queue.wait(jobs, timeout=PATIENCE)
        assert [(status.state, status.result) for status in statuses] == [
            (State.FINISHED, 1) for _ in jobs
        ]
        assert ran == Counter(jobs)
        # one for the loss, and one for what becomes of each attempt from then on
        assert set(told.lines("no connection to").values()) == {2}
        assert set(told.lines("connected to").values()) == {1}


async def test_scheduler_and_worker_start_while_it_is_frozen_and_go_on_when_it_answers(
    proxy: Proxy,
    namespace: str,
    database: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CALL_TIMEOUT", SHORT_TIMEOUT / 2)
    told = Told(caplog, namespace)
    worker = Worker(name=f"{namespace} worker")
    worker.register("a", lambda args: args)
    proxy.freeze()
    scheduler = RunningScheduler(url=proxy.url, namespace=namespace, database=database)
    async with running(worker, proxy.url, namespace):
        starting = asyncio.create_task(scheduler.start())
        await told.all_try_in_vain()
        proxy.thaw()
        await starting
        async with JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
            job = await queue.enqueue("a", 7)
            assert await queue.result(job, timeout=PATIENCE) == 7
    await scheduler.stop()
    assert set(told.lines("no connection to").values()) <= {1, 2}


async def test_a_worker_that_never_got_a_connection_stops_at_once(
    proxy: Proxy, namespace: str
) -> None:
    worker = Worker()
    worker.register("a", lambda args: args)
    proxy.freeze()
    async with asyncio.timeout(SHORT_TIMEOUT), running(worker, proxy.url, namespace):
        await asyncio.sleep(0)


async def test_a_job_that_tells_of_its_progress_fills_no_memory_while_nobody_listens(
    scheduler: RunningScheduler,
    queue: JobQueue,
    proxy: Proxy,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "PROGRESS_PAUSE", 0.001)
    worker = Worker()
    frozen, told, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @worker.job()
    async def a(job: Job) -> None:
        await job.progress(0.1)
        await frozen.wait()
        for number in range(200):
            await job.progress(message=str(number))
            await asyncio.sleep(0.002)
        told.set()
        await go_on.wait()

    async with running(worker, proxy.url, namespace):
        job = await queue.enqueue("a")

        async def is_running() -> bool:
            return (await queue.job_status(job)).progress is not None

        await until(is_running)
        proxy.freeze()
        frozen.set()
        async with asyncio.timeout(PATIENCE):
            await told.wait()
        assert len(worker._deliveries._reporting._waiting) <= 1
        proxy.thaw()

        async def last_word_came() -> bool:
            progress = (await queue.job_status(job)).progress
            return progress is not None and progress.message == "199"

        await until(last_word_came)
        go_on.set()


async def test_settling_a_message_is_given_up_in_time_where_nothing_can_be_written(
    queue: JobQueue, proxy: Proxy, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "CALL_TIMEOUT", 0.5)
    await queue.enqueue("a")
    async with JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as client:
        job = await client.dequeue("a")
        delivery = client._dequeuing._held[job.id].delivery
        proxy.freeze()
        much = [asyncio.create_task(client.enqueue("b", "." * 1_000_000)) for _ in range(30)]

        async def is_given_up() -> bool:
            try:
                await delivery.acknowledge()
            except Unavailable:
                return True
            return False

        await until(is_given_up)
        proxy.thaw()
        await asyncio.gather(*much)
