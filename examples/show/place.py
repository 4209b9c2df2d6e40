"""Where a graph runs: processes that are started for it, or those of a running system."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import aio_pika

from broker_queue import BrokerQueueError, JobQueue, Unavailable
from broker_queue.address import DEFAULT_NAMESPACE, NAMESPACE_VARIABLE, URL_VARIABLE
from broker_queue.amqp.ending import end
from broker_queue.cli import COMMAND
from broker_queue.local_broker.finding import find_broker
from broker_queue.protocol.names import Names
from examples.show.processes import Processes
from examples.show.screen import Screen

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

    async def ready(
        self,
        question: Callable[[JobQueue], Awaitable[T]],
        tell: Callable[[str], None],
        otherwise: str = "the scheduler does not answer",
    ) -> T:
        """Return what `question` answers, asked again until the scheduler answers.

        Args:
            question: may wait for more itself.
            tell: is told what is missing.
            otherwise: what is missing if `question` has no answer although the scheduler has.

        Raises:
            NotReady: after a minute there is no answer.
        """
        problem = ""
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                while True:
                    try:
                        async with self.queue(timeout=ONE_QUESTION) as queue:
                            return await question(queue)
                    except Unavailable as error:
                        if problem != error.message:
                            problem = error.message
                            tell(problem)
                        await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise NotReady(problem or otherwise) from None


def start(shown: Screen, started: ExitStack, types: Iterable[str]) -> tuple[Place, Processes]:
    """Find or start a broker, and start a scheduler, which is not yet waited for.

    Args:
        shown: where the broker that was found is named.
        started: stops what was started.
        types: of jobs, whose queues are deleted in the end if the broker is not ours.
    """
    is_foreign = URL_VARIABLE in os.environ
    with shown.step("broker", "looking for a broker") as step:
        broker = started.enter_context(find_broker(progress=step.tell))
        namespace = f"demo-{uuid4().hex[:8]}" if is_foreign else DEFAULT_NAMESPACE
        step.outcome = f"{broker.description}; namespace {namespace}"
    if is_foreign:
        started.callback(lambda: asyncio.run(_delete_queues(broker.url, namespace, types)))
    folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="broker-queue-demo-")))
    environment = {
        URL_VARIABLE: broker.url,
        NAMESPACE_VARIABLE: namespace,
        "BROKER_QUEUE_DATABASE": str(folder / "scheduler.sqlite3"),
    }
    processes = started.enter_context(Processes(folder, environment))
    processes.start("scheduler", *COMMAND, "scheduler")
    return Place(broker.url, namespace, processes), processes


async def _delete_queues(url: str, namespace: str, types: Iterable[str]) -> None:
    """Leave nothing of ours on a broker that is not ours."""
    names = Names(namespace)
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for queue in (names.requests, names.reports, names.dead, names.parked):
            await channel.queue_delete(queue)
        for kind in types:
            await channel.queue_delete(names.job_queue(kind))
        for exchange in (names.jobs, names.control, names.events, names.requests, names.reports):
            await channel.exchange_delete(exchange)
        await channel.exchange_delete(names.dead)
