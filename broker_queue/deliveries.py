"""What a worker does with each message of a job: wait for a slot, run it, or hand it back.

A job may come more than once: the broker delivers again what a lost connection held, and the
scheduler publishes again what it does not know to be published. A message of what runs here is
attached to that run, and one of what has ended here is only acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from broker_queue.amqp.channel import Delivery
from broker_queue.errors import Invalid, Unavailable
from broker_queue.execution import Execution
from broker_queue.handler import Handler
from broker_queue.intake import LONGEST_WAIT, Intake
from broker_queue.job_message import DequeuedJob, read_job
from broker_queue.protocol.messages import encode
from broker_queue.protocol.reports import Released
from broker_queue.reporting import Reporting
from broker_queue.taking import reject

log = logging.getLogger(__name__)

REMEMBERED_CANCELED = 100_000
"""Tokens of canceled jobs that a worker remembers, at most 30 MB; the oldest are forgotten."""

REMEMBERED_REPORTED = 10_000
"""Tokens of jobs that a worker has ended: of these a second message is dropped without asking."""

STOP_TIMEOUT = 10.0
"""Seconds that stopped jobs have to clean up, and their hand-backs to be confirmed."""


class Deliveries:
    """The messages that a worker holds, and the jobs that it runs.

    Args:
        name: of the worker.
        handlers: by job type.
        claimed: job types whose jobs are started only with the scheduler's consent.
        max_result: bytes.
        reporting: reports go out there.
        intake: its slots.
        stopping: set when the worker stops; then nothing is started any more.
    """

    def __init__(  # noqa: PLR0917  # the parts of a worker, put together in one place
        self,
        name: str,
        handlers: Mapping[str, Handler],
        claimed: Collection[str],
        max_result: int,
        reporting: Reporting,
        intake: Intake,
        stopping: asyncio.Event,
    ) -> None:
        self._name = name
        self._handlers = handlers
        self._claimed = claimed
        self._max_result = max_result
        self._reporting = reporting
        self._intake = intake
        self._stopping = stopping
        self._executions: dict[str, Execution] = {}
        self._held: set[asyncio.Task[None]] = set()
        self._canceled: OrderedDict[str, None] = OrderedDict()
        self._reported: OrderedDict[str, None] = OrderedDict()
        self.lease_after = 0.0
        """Seconds after which a lease is taken on a job that still runs."""

    @property
    def running(self) -> int:
        """Jobs that run."""
        return len(self._executions)

    def cancel(self, tokens: Sequence[str]) -> None:
        """Stop these jobs, and start none of them."""
        for token in tokens:
            _remember(self._canceled, token, REMEMBERED_CANCELED)
            if token in self._executions:
                self._executions[token].stop("canceled")

    def take(self, delivery: Delivery) -> None:
        """Begin to deal with a message of a job queue."""
        task = asyncio.create_task(self._take(delivery))
        self._held.add(task)
        task.add_done_callback(self._held.discard)

    async def _take(self, delivery: Delivery) -> None:
        try:
            job = await _read_or_reject(delivery)
            if job is not None and not await self._drop_copy(delivery, job):
                await self._wait_for_slot(delivery, job)
        except Exception:  # unsettled, it would keep its place in the prefetch for good
            await _requeue(delivery)

    async def _drop_copy(self, delivery: Delivery, job: DequeuedJob) -> bool:
        """Deal with a second message of a job that runs here or has ended here, if it is one."""
        if job.token in self._executions:
            await self._executions[job.token].redelivered(delivery)
        elif job.token in self._reported:
            with suppress(Unavailable):
                await delivery.acknowledge()
        else:
            return False
        return True

    async def _wait_for_slot(self, delivery: Delivery, job: DequeuedJob) -> None:
        if not self._intake.has_free or self._stopping.is_set():
            if not await self._has_waited(delivery, job):
                return
        else:
            await self._intake.acquire()  # at once
        try:
            await self._decide(delivery, job)
        finally:
            self._intake.release()

    async def _has_waited(self, delivery: Delivery, job: DequeuedJob) -> bool:
        """Return whether a slot was taken; if not, the message is handed back."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        slot = asyncio.ensure_future(self._intake.acquire())
        either: set[asyncio.Future[Any]] = {stopping, slot}
        await asyncio.wait(either, timeout=LONGEST_WAIT, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if slot.done():
            return True
        slot.cancel()
        await self._intake.narrow()
        reason = "the worker stops" if self._stopping.is_set() else "no slot became free"
        if not await self._drop_copy(delivery, job):
            await self._hand_back(delivery, job.token, reason)
        return False

    async def _decide(self, delivery: Delivery, job: DequeuedJob) -> None:
        """Run a delivery that has a slot, unless something happened while it waited for it."""
        if delivery.is_lost:
            return  # the broker delivers it again, perhaps to another worker
        if await self._drop_copy(delivery, job):
            return
        if self._stopping.is_set():
            await self._hand_back(delivery, job.token, "the worker stops")
        elif job.token in self._canceled:
            await self._hand_back(delivery, job.token, "canceled")
        else:
            await self._execute(delivery, job)

    async def _execute(self, delivery: Delivery, job: DequeuedJob) -> None:
        handler = self._handlers.get(job.type)
        if handler is None:
            await self._hand_back(delivery, job.token, f"no function for type {job.type!r}")
            return
        execution = Execution(
            delivery,
            job,
            handler,
            self._name,
            self._reporting,
            max_result=self._max_result,
            lease_after=self.lease_after,
            leased=self._intake.narrow,
            claims=delivery.redelivered or job.republished or job.type in self._claimed,
        )
        self._executions[job.token] = execution
        try:
            if await execution.run():
                _remember(self._reported, job.token, REMEMBERED_REPORTED)
        except Exception:  # as in `_take`
            log.exception("a job failed in the worker itself; it is given back")
            await execution.give_up()
        finally:
            del self._executions[job.token]

    async def _hand_back(self, delivery: Delivery, token: str, reason: str) -> None:
        report = self._reporting.send(
            token, "released", encode(Released(reason=reason)), is_void=lambda: delivery.is_lost
        )
        if not await report.confirmed:
            return
        _remember(self._reported, token, REMEMBERED_REPORTED)
        with suppress(Unavailable):
            await delivery.acknowledge()

    async def finish(self, grace: float, at_once: asyncio.Event) -> None:
        """Let what runs finish within the grace time (seconds); then stop and hand back the rest.

        Args:
            grace: as long as `at_once` is not set.
            at_once: cleared when it is seen.
        """
        for execution in list(self._executions.values()):
            if not execution.has_begun:
                execution.stop("the worker stops")
        await self._settle(grace, at_once)
        for execution in list(self._executions.values()):
            execution.stop("the worker stops")
        await self._settle(STOP_TIMEOUT, at_once)

    async def abandon(self) -> None:
        """Cancel what is still held: the worker was canceled, or a job does not stop."""
        for task in self._held:
            task.cancel()
        if self._held:
            await asyncio.wait(self._held, timeout=STOP_TIMEOUT)

    async def _settle(self, seconds: float, at_once: asyncio.Event) -> None:
        """Wait until nothing is held, at most this long."""
        if not self._held:
            return
        now = asyncio.create_task(at_once.wait())
        done = asyncio.gather(*self._held, return_exceptions=True)
        either: set[asyncio.Future[Any]] = {now, done}
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        now.cancel()
        at_once.clear()
        if not done.done():
            done.add_done_callback(lambda future: future.cancelled() or future.exception())


async def _read_or_reject(delivery: Delivery) -> DequeuedJob | None:
    try:
        return read_job(delivery)
    except Invalid as problem:
        with suppress(Unavailable):
            await reject(delivery, problem)
    return None


async def _requeue(delivery: Delivery) -> None:
    """Give back what could not be dealt with, inside the handler of the exception that says why."""
    log.exception("a delivery failed in the worker; it goes back to its queue")
    with suppress(Unavailable):  # the connection is gone, and with it the delivery
        await delivery.requeue()


def _remember(tokens: OrderedDict[str, None], token: str, at_most: int) -> None:
    tokens[token] = None
    if len(tokens) > at_most:
        tokens.popitem(last=False)
