"""Single enqueues, put into one request with those that other tasks make at the same time.

Messages are what costs: a hundred tasks that enqueue at once need one request, not a hundred. A
task that enqueues alone does not wait for company. If the scheduler refuses a request of several
jobs, each is sent again alone, so that only those that are wrong are refused.
"""

from __future__ import annotations

import asyncio
from copy import copy
from typing import NamedTuple

from broker_queue.errors import RequestError, Unavailable
from broker_queue.parts import PART_BYTES
from broker_queue.protocol.messages import NewJob, Submit, Submitted
from broker_queue.requests import Requests

MAX_IN_FLIGHT = 2
"""Requests at once: one that is stored and one that follows it. The others gather meanwhile."""

PATIENCE = 0.03
"""Seconds for which they do so: where an answer takes long, more requests are on their way at once."""

MOST_IN_FLIGHT = 16
"""Requests at once, at the most."""

MAX_JOBS = 500
"""Jobs in one request; beyond that a refused one costs more than the messages saved."""


class _Pending(NamedTuple):
    job: NewJob
    size: int
    stored: asyncio.Future[None]


class Enqueuing:
    """Enqueues jobs one by one, as its callers see it.

    Args:
        requests: connected.
        timeout: seconds within which the scheduler must answer.
    """

    def __init__(self, requests: Requests, timeout: float) -> None:
        self._requests = requests
        self._timeout = timeout
        self._pending: list[_Pending] = []
        self._in_flight = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def enqueue(self, job: NewJob) -> None:
        """Return once the job is stored.

        Raises:
            RequestError: it was refused.
        """
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        size = len(bytes(job.args)) + 60 * len(job.dependencies)
        self._pending.append(_Pending(job, size, stored))
        if self._in_flight < MAX_IN_FLIGHT:
            self._begin()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PATIENCE, self._wait_no_longer)
        await stored

    def _wait_no_longer(self) -> None:
        self._timer = None
        if self._pending and self._in_flight < MOST_IN_FLIGHT:
            self._begin()

    def _begin(self) -> None:
        self._in_flight += 1
        task = asyncio.create_task(self._send())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self) -> None:
        try:
            await self._send_all()
        finally:
            self._in_flight -= 1

    async def _send_all(self) -> None:
        while self._pending:
            await asyncio.sleep(0)  # tasks that are about to enqueue get their turn first
            batch = self._next_batch()
            problem = await self._submit(batch)
            is_refused = isinstance(problem, RequestError) and not isinstance(problem, Unavailable)
            for item in batch:
                if is_refused and len(batch) > 1:
                    problem = await self._submit([item])
                _settle(item, problem)

    async def _submit(self, batch: list[_Pending]) -> Exception | None:
        request = Submit(jobs=[item.job for item in batch])
        try:
            await self._requests.ask("submit", request, Submitted, timeout=self._timeout)
        except Exception as error:  # whatever it is, those who wait for it must be told
            return error
        return None

    def _next_batch(self) -> list[_Pending]:
        size = 0
        count = 0
        for item in self._pending[:MAX_JOBS]:
            size += item.size
            if count and size > PART_BYTES:
                break
            count += 1
        batch, self._pending = self._pending[:count], self._pending[count:]
        return batch


def _settle(item: _Pending, problem: Exception | None) -> None:
    if item.stored.done():  # its caller was canceled meanwhile
        return
    if problem is None:
        item.stored.set_result(None)
    else:
        item.stored.set_exception(copy(problem))  # each has a traceback of its own
