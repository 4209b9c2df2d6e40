"""Where the graph runs: processes that are started for it, or those of a running system."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import aio_pika

from broker_queue import BrokerQueueError, JobQueue, Unavailable
from broker_queue.address import DEFAULT_NAMESPACE, NAMESPACE_VARIABLE, URL_VARIABLE
from broker_queue.amqp.ending import end
from broker_queue.local_broker.finding import find_broker
from broker_queue.protocol.names import Names
from examples.standard_library.jobs import worker
from examples.standard_library.processes import Processes
from examples.standard_library.screen import Screen

WORKERS = 2
TARGET = "examples.standard_library.jobs:worker"
READY_TIMEOUT = 60.0
"""Seconds for scheduler and workers to answer; a loaded machine takes some ten."""

PAUSE = 0.05
ONE_QUESTION = 5.0
"""Seconds that one answer may take while we wait for everybody."""

T = TypeVar("T")


class NotReady(BrokerQueueError):
    """Scheduler or workers did not answer in time; the text says who, and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """A broker with a scheduler and workers; None stands for what the environment says."""

    url: str | None = None
    namespace: str | None = None
    processes: Processes | None = None

    def queue(self, timeout: float = 30.0) -> JobQueue:
        return JobQueue(self.url, namespace=self.namespace, timeout=timeout, name="demo")

    async def alongside(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`; it fails at once when one of our processes ends.

        Raises:
            ProcessEnded: one has ended.
        """
        task = asyncio.create_task(work)
        try:
            while not task.done():
                if self.processes is not None:
                    self.processes.check()
                await asyncio.wait([task], timeout=PAUSE)
        finally:
            with suppress(BrokerQueueError):  # raised below, or a process that ended says more
                await end(task)
        return task.result()


def attach(shown: Screen) -> Place:
    """Return the running system that the environment names, once it has a worker for us."""
    place = Place()
    with shown.step("workers", "looking for a scheduler and workers") as step:
        step.outcome = asyncio.run(_ready(place, 1, step.tell))
    return place


def start(shown: Screen, started: ExitStack) -> Place:
    """Find or start a broker, start a scheduler and workers; `started` stops what was started."""
    is_foreign = URL_VARIABLE in os.environ
    with shown.step("broker", "looking for a broker") as step:
        broker = started.enter_context(find_broker(progress=step.tell))
        namespace = f"demo-{uuid4().hex[:8]}" if is_foreign else DEFAULT_NAMESPACE
        step.outcome = f"{broker.description}; namespace {namespace}"
    if is_foreign:
        started.callback(lambda: asyncio.run(_delete_queues(broker.url, namespace)))
    folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="broker-queue-demo-")))
    environment = {
        URL_VARIABLE: broker.url,
        NAMESPACE_VARIABLE: namespace,
        "BROKER_QUEUE_DATABASE": str(folder / "scheduler.sqlite3"),
    }
    processes = started.enter_context(Processes(folder, environment))
    place = Place(broker.url, namespace, processes)
    with shown.step("processes", f"starting a scheduler and {WORKERS} workers") as step:
        processes.start("scheduler", "scheduler")
        for number in range(1, WORKERS + 1):
            processes.start(f"worker-{number}", "worker", TARGET, "--name", f"worker-{number}")
        step.outcome = asyncio.run(place.alongside(_ready(place, WORKERS, lambda _: None)))
    return place


async def _ready(place: Place, wanted: int, tell: Callable[[str], None]) -> str:
    """Return in words who is there, as soon as it is enough.

    Raises:
        NotReady: after a minute it is not.
    """
    problem = ""
    try:
        async with asyncio.timeout(READY_TIMEOUT):
            while True:
                try:
                    async with place.queue(timeout=ONE_QUESTION) as queue:
                        return await _enough_workers(queue, wanted, tell)
                except Unavailable as error:
                    if problem != error.message:
                        problem = error.message
                        tell(problem)
                    await asyncio.sleep(PAUSE)
    except TimeoutError:
        missing = problem or f"no worker takes our jobs; start one: broker-queue worker {TARGET}"
        raise NotReady(missing) from None


async def _enough_workers(queue: JobQueue, wanted: int, tell: Callable[[str], None]) -> str:
    told = False
    while True:
        ours = [each for each in await queue.workers() if set(worker.types) <= set(each.types)]
        if len(ours) >= wanted:
            slots = sum(each.concurrency for each in ours)
            return f"a scheduler, and workers for {slots} jobs at a time: {len(ours)} processes"
        if not told:
            tell("the scheduler answers; waiting for workers")
            told = True
        await asyncio.sleep(PAUSE)


async def _delete_queues(url: str, namespace: str) -> None:
    """Leave nothing of ours on a broker that is not ours."""
    names = Names(namespace)
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for queue in (names.requests, names.reports, names.dead, names.parked):
            await channel.queue_delete(queue)
        for kind in worker.types:
            await channel.queue_delete(names.job_queue(kind))
        for exchange in (names.jobs, names.control, names.events, names.requests, names.reports):
            await channel.exchange_delete(exchange)
        await channel.exchange_delete(names.dead)
