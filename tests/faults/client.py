"""Clients: they submit, cancel and retry, ask again until they are answered, and keep a record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from broker_queue.client import JobQueue
from broker_queue.errors import Conflict, Unavailable
from broker_queue.graph import Graph
from broker_queue.job import JobId, State
from tests.faults.record import (
    Canceled,
    CancelSent,
    Record,
    Retried,
    RetrySent,
    SubmitSent,
    Submitted,
    Told,
)
from tests.faults.works import PlannedCancel, PlannedRetry, Work
from tests.support.waiting import TIMEOUT_FACTOR

T = TypeVar("T")

MAX_OPEN = 250

ANSWER_TIMEOUT = 4.0 * TIMEOUT_FACTOR
"""Seconds before a client asks again: a question that a killed scheduler had read is not kept."""
PAUSE = 0.1


class Client:
    """Submits graphs one after the other, until it is told to stop.

    Args:
        url: of the broker.
        namespace: of the scheduler.
        works: what it does.
        record: what it sends and is told goes there.
        open_jobs: how many jobs have not ended.
        stopping: no new graphs from then on; what was begun is brought to its end.
        max_open: jobs that have not ended, beyond which it submits no more.
    """

    def __init__(  # the parts of a run, put together in one place
        self,
        url: str | None,
        namespace: str | None,
        works: Iterator[Work],
        record: Record,
        open_jobs: Callable[[], int],
        stopping: asyncio.Event,
        max_open: int = MAX_OPEN,
    ) -> None:
        self._queue = JobQueue(url, namespace=namespace, timeout=ANSWER_TIMEOUT)
        self._works = works
        self._record = record
        self._open_jobs = open_jobs
        self._stopping = stopping
        self._max_open = max_open

    async def run(self) -> None:
        """Submit until stopped, then return once everything was answered."""
        await _until_answered(self._queue.connect)
        try:
            async with asyncio.TaskGroup() as waits:
                while not self._stopping.is_set():
                    if self._open_jobs() > self._max_open:
                        await asyncio.sleep(PAUSE)
                        continue
                    work = next(self._works)
                    await self._submit(work)
                    if work.wait_for is not None:
                        waits.create_task(self._wait(work.wait_for))
                    waits.create_task(self._change(work))
        finally:
            await self._queue.close()

    async def _submit(self, work: Work) -> None:
        self._record.note(SubmitSent(graph=work.graph.id, jobs=work.graph.jobs))
        for _ in range(1 + work.again):
            await _until_answered(lambda: self._queue.submit(work.graph))
        self._record.note(Submitted(graph=work.graph.id))

    async def _change(self, work: Work) -> None:
        """Cancel, then retry: what a later cancel did to copies could not be told apart."""
        if work.cancel is not None:
            await self._cancel(work.graph, work.cancel)
        if work.retry is not None:
            await self._retry(work.graph, work.retry)

    async def _cancel(self, graph: Graph, planned: PlannedCancel) -> None:
        await asyncio.sleep(planned.after)
        job, dependents = planned.job, planned.dependents
        self._record.note(CancelSent(graph=graph.id, job=job, dependents=dependents))
        if job is None:
            await _until_answered(lambda: self._queue.cancel_graph(graph.id))
        else:
            await _until_answered(lambda: self._queue.cancel_job(job, dependents=dependents))
        self._record.note(Canceled(graph=graph.id))

    async def _retry(self, graph: Graph, planned: PlannedRetry) -> None:
        """Retry what failed, if anything did; a job once it has ended, a graph at some time."""
        job = planned.job
        await asyncio.sleep(planned.after)
        if job is not None and not await self._failed(job):
            return
        self._record.note(RetrySent(graph=graph.id, job=job))
        for _ in range(1 + planned.again):
            try:
                if job is None:
                    copies = await _until_answered(lambda: self._queue.retry_graph(graph.id))
                else:
                    copies = await _until_answered(lambda: self._queue.retry(job))
            except Conflict:
                if job is not None:
                    raise
                return  # nothing in the graph has failed until now
            self._record.note(Retried(graph=graph.id, copies=copies))

    async def _failed(self, job: JobId) -> bool:
        status = await _until_answered(lambda: self._queue.wait(job))
        return status.state in (State.FAILED, State.CANCELED)

    async def _wait(self, job: JobId) -> None:
        status = await _until_answered(lambda: self._queue.wait(job))
        result = None if status.raw_result is None else bytes(status.raw_result)
        self._record.note(Told(job=job, state=status.state, result=result))


async def _until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until it is answered: whatever it is, repeating it changes nothing."""
    while True:
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(PAUSE)
