"""Defects in a part of the scheduler or the worker: the log says so at once, and the process ends."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from broker_queue import execution
from broker_queue.client import JobQueue
from broker_queue.intake import Intake
from broker_queue.reporting import Reporting
from broker_queue.worker import Worker
from scheduler.publishing import Publishing
from scheduler.reconciling import Reconciling
from scheduler.reminding import Reminding
from tests.support.proxy import Proxy
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, until
from tests.support.workers import running


@pytest.fixture
async def scheduler(
    broker_url: str, namespace: str, database: Path
) -> AsyncIterator[RunningScheduler]:
    """A scheduler that workers greet all the time."""
    async with RunningScheduler(
        url=broker_url, namespace=namespace, database=database, hello_interval=1.0
    ) as started:
        yield started


class Defect(Exception):
    """What nobody expected."""


def defective(monkeypatch: pytest.MonkeyPatch, part: type, method: str) -> Callable[[], None]:
    """Have a method fail, once the function that this returns was called."""
    is_on = False
    before = getattr(part, method)

    def failing(*given: Any, **named: Any) -> Any:
        if is_on:
            raise Defect
        return before(*given, **named)

    def turn_on() -> None:
        nonlocal is_on
        is_on = True

    monkeypatch.setattr(part, method, failing)
    return turn_on


def tracebacks(caplog: pytest.LogCaptureFixture, part: str) -> list[Any]:
    """What the log says of defects in this part."""
    return [
        record.exc_info
        for record in caplog.records
        if record.levelno == logging.CRITICAL and f"error in {part}" in record.getMessage()
    ]


@pytest.mark.parametrize(
    ("part", "method", "name"),
    [
        (Reconciling, "look", "looking at the queues"),
        (Reminding, "_remind", "telling of cancels"),
        (Publishing, "_publish_all", "publishing jobs"),
    ],
)
async def test_a_scheduler_ends_with_the_error_of_any_of_its_parts(
    broker_url: str,
    namespace: str,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: type,
    method: str,
    name: str,
) -> None:
    turn_on = defective(monkeypatch, part, method)
    async with Proxy(broker_url) as proxy:
        scheduler = RunningScheduler(
            url=proxy.url, namespace=namespace, database=database, lost_after=1.0
        )
        await scheduler.start()
        async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
            await queue.cancel_job(await queue.enqueue("a"))
            turn_on()
            enqueuing = asyncio.create_task(queue.enqueue("a"))
            if part is Reminding:
                proxy.cut()

            async def has_ended() -> bool:
                return scheduler.error is not None

            await until(has_ended)
            enqueuing.cancel()
    assert isinstance(scheduler.error, Defect)
    traceback = tracebacks(caplog, name)[0]
    assert traceback[0] is Defect


SCHEDULER = """
import sys
from scheduler.__main__ import main
from scheduler.hearing import Hearing

async def failing(_hearing):
    raise KeyError("a defect")

Hearing.run = failing
sys.exit(main(sys.argv[1:]))
"""


async def test_the_process_of_a_scheduler_exits_with_1_and_the_traceback(
    broker_url: str, namespace: str, database: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCHEDULER,
        "--url", broker_url, "--namespace", namespace, "--database", str(database),
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, told = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 1
    assert b"unexpected error in watching the clock" in told
    assert b"KeyError: 'a defect'" in told


@pytest.mark.parametrize(
    ("part", "method", "name"),
    [
        (Reporting, "_take", "reporting"),
        (Reporting, "_confirmed", "publishing reports"),
        (Worker, "_greet", "greeting"),
        (Intake, "_consume", "consuming more"),
    ],
)
async def test_a_worker_ends_with_the_error_of_any_of_its_parts(
    queue: JobQueue,
    broker_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: type,
    method: str,
    name: str,
) -> None:
    turn_on = defective(monkeypatch, part, method)
    worker = Worker(broker_url, namespace=namespace, concurrency=1)

    @worker.job()
    async def a() -> None:
        if part is Intake:
            await worker._intake.narrow()  # as a job does that is held by lease
        turn_on()

    working = asyncio.create_task(worker.run())
    await queue.enqueue("a")
    with pytest.raises(Defect):
        await asyncio.wait_for(working, PATIENCE)
    assert tracebacks(caplog, name)[0][0] is Defect


async def test_a_job_whose_lease_fails_unexpectedly_is_handed_back(
    broker_url: str,
    namespace: str,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker(concurrency=1)
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def failing(*_given: Any, **_named: Any) -> Any:
        await begun.wait()
        raise Defect

    monkeypatch.setattr(execution, "keep_lease", failing)

    @worker.job()
    async def a() -> None:
        begun.set()
        worker.stop()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with (
        RunningScheduler(url=broker_url, namespace=namespace, database=database, lease_after=0.1),
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        RawClient(broker_url, namespace) as raw,
    ):
        async with running(worker, broker_url, namespace):
            job = await queue.enqueue("a")
            async with asyncio.timeout(PATIENCE):
                await stopped.wait()
        delivery = await raw.take("a")
        assert (delivery.message_id, delivery.headers["attempt"]) == (job, 1)
    assert f"the lease of job {job} cannot be kept" in caplog.text
