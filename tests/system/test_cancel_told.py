"""A cancel is answered once workers were told, whoever dies and whatever fails before that."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest

from broker_queue.amqp.channel import Delivery
from broker_queue.client import JobQueue
from broker_queue.errors import Unavailable
from broker_queue.job import State
from broker_queue.running import Job
from broker_queue.worker import Worker
from scheduler import loop
from scheduler.broker.outbox import Outbox
from tests.support.ends import finish
from tests.support.proxy import Proxy
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, until
from tests.support.workers import running


class Control:
    """What a worker of one type hears on the control exchange."""

    def __init__(self) -> None:
        self.tokens: list[str | None] = []

    async def listen(self, raw: RawClient, job_type: str) -> Self:
        queue = (await raw.channel.underlying.queue_declare(exclusive=True)).queue or ""
        await raw.channel.underlying.queue_bind(queue, raw.names.control, job_type)
        await raw.channel.consume(queue, self._take, prefetch=0, no_ack=True)
        return self

    async def hears(self, token: str | None, times: int = 1) -> None:
        async def heard() -> bool:
            return self.tokens.count(token) >= times

        await until(heard)

    def _take(self, delivery: Delivery) -> None:
        self.tokens += json.loads(delivery.body)["tokens"]


async def nobody_hears(_outbox: Outbox, _tokens: Iterable[tuple[str, str, str]]) -> None:
    """What workers are told comes to nobody: their connections are down."""


def handed_out(database: Path) -> int:
    """How many jobs the scheduler thinks the broker has, canceled ones too."""
    with closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute("SELECT sum(handed_out) FROM queue").fetchone()
    return int(count)


class Deafness:
    """The broker takes nothing that workers are to be told, until it is told to."""

    def __init__(self) -> None:
        self.refused = 0
        self.is_over = False
        self.revoke = Outbox.revoke

    async def instead(self, outbox: Outbox, tokens: Iterable[tuple[str, str, str]]) -> None:
        if not self.is_over:
            self.refused += 1
            raise Unavailable("not now")
        await self.revoke(outbox, tokens)

    async def was_met(self, times: int) -> None:
        async def met() -> bool:
            return self.refused >= times

        await until(met)


@pytest.fixture
def deafness(monkeypatch: pytest.MonkeyPatch) -> Deafness:
    found = Deafness()
    monkeypatch.setattr(loop, "TELL_PAUSE", 0.05)
    monkeypatch.setattr(Outbox, "revoke", lambda *given: found.instead(*given))
    return found


@pytest.fixture
async def other_queue(
    scheduler: RunningScheduler, broker_url: str, namespace: str
) -> AsyncIterator[JobQueue]:
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as client:
        yield client


async def test_a_cancel_is_answered_only_once_workers_were_told_and_reports_count_meanwhile(
    raw: RawClient,
    queue: JobQueue,
    other_queue: JobQueue,
    deafness: Deafness,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = await queue.enqueue("a")
    await queue.enqueue("c")
    await finish(raw, "c")
    other = await queue.enqueue("b")
    await queue.enqueue("c", dependencies=[other])
    token = (await raw.take("a")).correlation_id
    other_token = (await raw.take("b")).correlation_id
    control = await Control().listen(raw, "a")
    cancelings = [asyncio.create_task(queue.cancel_job(job))]
    await deafness.was_met(3)
    cancelings.append(asyncio.create_task(other_queue.cancel_job(job)))
    assert (await raw.report("finished", other_token, b"1")).type == "accepted"
    await raw.until_ready(raw.names.job_queue("c"), 1)
    await deafness.was_met(deafness.refused + 3)
    assert not any(canceling.done() for canceling in cancelings)
    assert control.tokens == []
    deafness.is_over = True
    async with asyncio.timeout(PATIENCE):
        first, second = await asyncio.gather(*cancelings)
    assert (first.canceled, second.already_final) == (1, 1)
    await control.hears(token, 2)
    told = [record for record in caplog.records if "once workers can be told" in record.msg]
    assert [record.levelname for record in told].count("WARNING") == 1


async def test_a_scheduler_that_ends_before_workers_were_told_leaves_the_cancel_to_the_next(
    broker_url: str, namespace: str, database: Path, deafness: Deafness
) -> None:
    settings: dict[str, Any] = {"url": broker_url, "namespace": namespace, "database": database}
    first = RunningScheduler(**settings)
    await first.start()
    async with (
        RawClient(broker_url, namespace) as raw,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        job = await queue.enqueue("a")
        token = (await raw.take("a")).correlation_id
        control = await Control().listen(raw, "a")
        canceling = asyncio.create_task(queue.cancel_job(job))
        await deafness.was_met(1)
        await first.stop()
        assert not canceling.done()
        deafness.is_over = True
        async with RunningScheduler(**settings):
            answer = await asyncio.wait_for(canceling, PATIENCE)
            assert token in control.tokens
            assert (answer.canceled, answer.already_final) == (0, 1)
            assert (await queue.job_status(job)).state is State.CANCELED


async def test_a_scheduler_tells_workers_again_of_canceled_jobs_that_may_start_or_still_run(
    broker_url: str, namespace: str, database: Path
) -> None:
    settings: dict[str, Any] = {"url": broker_url, "namespace": namespace, "database": database}
    async with (
        RawClient(broker_url, namespace) as raw,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        async with RunningScheduler(**settings):
            jobs = [await queue.enqueue("a") for _ in range(4)]
            deliveries = [await raw.take("a") for _ in jobs]
            _, runs, dropped, leased = tokens = [each.correlation_id for each in deliveries]
            assert (await raw.report("started", runs, {})).type == "accepted"
            assert (await raw.report("lease", leased, {})).type == "accepted"
            for job in jobs:
                await queue.cancel_job(job)
            assert (await raw.report("released", dropped, {})).type == "canceled"
        control = await Control().listen(raw, "a")
        async with RunningScheduler(**settings):
            for token in tokens[:2]:
                await control.hears(token)
        assert set(control.tokens) == set(tokens[:2])


async def test_a_scheduler_whose_connection_was_lost_tells_workers_again(
    broker_url: str, namespace: str, database: Path
) -> None:
    async with (
        Proxy(broker_url) as proxy,
        RunningScheduler(url=proxy.url, namespace=namespace, database=database),
        RawClient(broker_url, namespace) as raw,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        job = await queue.enqueue("a")
        token = (await raw.take("a")).correlation_id
        await queue.cancel_job(job)
        control = await Control().listen(raw, "a")
        proxy.cut()
        await control.hears(token)


async def test_a_worker_that_connects_again_is_told_of_its_job_that_was_canceled_meanwhile(
    queue: JobQueue, broker_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outbox, "revoke", nobody_hears)
    worker = Worker()
    begun, stopped = asyncio.Event(), asyncio.Event()

    @worker.job()
    async def a() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with Proxy(broker_url) as proxy, running(worker, proxy.url, namespace):
        job = await queue.enqueue("a")
        async with asyncio.timeout(PATIENCE):
            await begun.wait()

        async def is_running() -> bool:
            return (await queue.job_status(job)).state is State.RUNNING

        await until(is_running)
        await queue.cancel_job(job)
        assert not stopped.is_set()
        proxy.cut()
        async with asyncio.timeout(PATIENCE):
            await stopped.wait()


KILLED = """
import asyncio, sys
from broker_queue import Worker

worker = Worker(sys.argv[1], namespace=sys.argv[2])

@worker.job()
async def a():
    print("runs", flush=True)
    await asyncio.Event().wait()

worker.run_forever()
"""


@pytest.mark.parametrize("kill_first", [True, False])
async def test_a_canceled_job_whose_worker_was_killed_never_starts_on_another(
    queue: JobQueue,
    raw: RawClient,
    broker_url: str,
    namespace: str,
    database: Path,
    kill_first: bool,
) -> None:
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, broker_url, namespace,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    job = await queue.enqueue("a")
    assert killed.stdout is not None
    assert await asyncio.wait_for(killed.stdout.readline(), PATIENCE) == b"runs\n"

    async def is_running() -> bool:
        return (await queue.job_status(job)).state is State.RUNNING

    await until(is_running)
    killed.send_signal(signal.SIGSTOP)  # so that it cannot drop what it is told of
    if not kill_first:
        await queue.cancel_job(job)
    killed.kill()
    await killed.wait()
    if kill_first:
        await queue.cancel_job(job)
    worker = Worker()
    started: list[str] = []

    @worker.job()
    async def a(job: Job) -> None:
        started.append(job.id)

    async with running(worker, broker_url, namespace):
        other = await queue.enqueue("a")
        await queue.result(other, timeout=PATIENCE)

        async def nothing_is_with_the_broker() -> bool:
            return await asyncio.to_thread(handed_out, database) == 0

        await until(nothing_is_with_the_broker)
    assert started == [other]
    assert await raw.count(raw.names.job_queue("a")) == 0
