"""Clients: they submit and cancel, ask again until they are answered, and keep what they were told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from broker_queue.client import JobQueue
from broker_queue.errors import Unavailable
from broker_queue.graph import Graph
from broker_queue.job import GraphId, JobId, State
from tests.faults.plan import PlannedCancel, Work
from tests.support.waiting import TIMEOUT_FACTOR

T = TypeVar("T")

MAX_OPEN = 250
"""Jobs that have not ended, beyond which clients submit no more."""

ANSWER_TIMEOUT = 4.0 * TIMEOUT_FACTOR
"""Seconds before a client asks again: a question that a killed scheduler had read is not kept."""
PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Canceled:
    """A cancel that was confirmed.

    Attributes:
        job: the one that was named; None: the whole graph.
        dependents: together with what depends on it.
        at: when the confirmation was there, in nanoseconds of the monotonic clock.
        wall: the same in milliseconds since the epoch.
    """

    graph: GraphId
    job: JobId | None
    dependents: bool
    at: int
    wall: int


@dataclass(frozen=True, slots=True)
class Told:
    """How a job ended, as a client was told."""

    job: JobId
    state: State
    result: bytes | None


@dataclass(slots=True)
class Record:
    """What all clients were told."""

    submitted: list[Graph] = field(default_factory=list)
    """Confirmed."""
    cancels_sent: list[tuple[GraphId, PlannedCancel]] = field(default_factory=list)
    canceled: list[Canceled] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    """What was never confirmed, though it was asked again and again."""


class Client:
    """Submits graphs one after the other, until it is told to stop.

    Args:
        url: of the broker.
        namespace: of the scheduler.
        works: what it does.
        record: what it is told goes there.
        open_jobs: how many jobs have not ended.
        stopping: no new graphs from then on; what was begun is brought to its end.
    """

    def __init__(  # the parts of a run, put together in one place
        self,
        url: str,
        namespace: str,
        works: Iterator[Work],
        record: Record,
        open_jobs: Callable[[], int],
        stopping: asyncio.Event,
    ) -> None:
        self._queue = JobQueue(url, namespace=namespace, timeout=ANSWER_TIMEOUT)
        self._works = works
        self._record = record
        self._open_jobs = open_jobs
        self._stopping = stopping

    async def run(self) -> None:
        """Submit until stopped, then return once everything was answered."""
        await _until_answered(self._queue.connect)
        try:
            async with asyncio.TaskGroup() as waits:
                while not self._stopping.is_set():
                    if self._open_jobs() > MAX_OPEN:
                        await asyncio.sleep(PAUSE)
                        continue
                    work = next(self._works)
                    await self._submit(work)
                    if work.wait_for is not None:
                        waits.create_task(self._wait(work.wait_for))
                    if work.cancel is not None:
                        waits.create_task(self._cancel(work.graph, work.cancel))
        finally:
            await self._queue.close()

    async def _submit(self, work: Work) -> None:
        for _ in range(1 + work.again):
            await _until_answered(lambda: self._queue.submit(work.graph))
        self._record.submitted.append(work.graph)

    async def _cancel(self, graph: Graph, planned: PlannedCancel) -> None:
        await asyncio.sleep(planned.after)
        self._record.cancels_sent.append((graph.id, planned))
        if planned.job is None:
            await _until_answered(lambda: self._queue.cancel_graph(graph.id))
        else:
            job = planned.job
            await _until_answered(
                lambda: self._queue.cancel_job(job, dependents=planned.dependents)
            )
        now, wall = time.monotonic_ns(), time.time_ns() // 1_000_000
        self._record.canceled.append(Canceled(graph.id, planned.job, planned.dependents, now, wall))

    async def _wait(self, job: JobId) -> None:
        status = await _until_answered(lambda: self._queue.wait(job))
        self._record.told.append(Told(job, status.state, status.raw_result))


async def _until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until it is answered: whatever it is, repeating it changes nothing."""
    while True:
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(PAUSE)
