"""Taking single jobs by hand: dequeue, and what becomes of them.

A dequeue consumes from the queues of its types and claims the first job that is delivered: it
reports ``started`` and waits for ``accepted``. The message stays unacknowledged until the job has
ended, so the broker gives it to another worker if this process dies. Whatever else was delivered
meanwhile is handed back: reported as ``released``, which counts as no attempt, then acknowledged.
A message that is only put back into its queue would count towards the delivery limit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, assert_never
from uuid import uuid4

from msgspec import structs

from broker_queue.amqp.channel import Delivery
from broker_queue.amqp.ending import end
from broker_queue.errors import Canceled, Invalid, NotExist, NotRunning, Unavailable
from broker_queue.graph import job_id_of
from broker_queue.job import JobId, JobLike, State, Verdict
from broker_queue.job_message import DequeuedJob, read_job
from broker_queue.leasing import keep_lease
from broker_queue.protocol import messages, reports
from broker_queue.protocol.codec import to_json
from broker_queue.requests import Requests
from broker_queue.status import JobStatus, from_page
from broker_queue.taking import Taking, hand_back, release

log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 10.0
"""Seconds in which a client that closes hands everything back; later the broker does it."""

GOODBYE_TIMEOUT = 2.0
"""Seconds; without a scheduler there is no list to be taken off."""

PAUSE = 0.5
"""Seconds before a dequeue whose connection was lost begins again."""


@dataclass(slots=True)
class _Held:
    """A job at hand with its message; nothing else is consumed on that channel once stopped."""

    job: DequeuedJob
    delivery: Delivery
    stopping: asyncio.Task[None]
    leasing: asyncio.Task[Verdict] | None = None
    is_acknowledged: bool = False

    async def let_go(self) -> None:
        """Settle the message, now that the scheduler knows what became of the job."""
        await self.end_lease()
        await self.stopping
        await self.acknowledge()
        await self.delivery.channel.close()

    async def end_lease(self) -> None:
        """Ask for no lease any more, nor prolong it."""
        if self.leasing is not None:
            await end(self.leasing)

    async def acknowledge(self) -> None:
        """Settle the message, unless that was done."""
        if self.is_acknowledged:
            return
        self.is_acknowledged = True
        with suppress(Unavailable):  # the connection is gone: whoever gets it next is told `stale`
            await self.delivery.acknowledge()


class Dequeuing:
    """The jobs that one client has dequeued and not finished, and its dequeues under way."""

    def __init__(self, requests: Requests, name: str, timeout: float) -> None:
        self._requests = requests
        self._timeout = timeout
        self._worker = f"{name[:50]}-{socket.gethostname()[:60]}-{os.getpid()}-{uuid4().hex[:6]}"
        self._held: dict[JobId, _Held] = {}
        self._taking: set[Taking] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_hello: messages.Hello | None = None
        self._is_closing = False

    async def dequeue(
        self, types: Sequence[str], channels: Sequence[str], *, timeout: float | None
    ) -> DequeuedJob:
        """See `JobQueue.dequeue`."""
        if not types or not channels:
            raise Invalid("types and channels: name at least one of each", {"field": "types"})
        hello = messages.Hello(
            worker=self._worker,
            types=list(types),
            channels=list(channels),
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            software=f"broker-queue {version('broker-queue')} dequeue (Python)",
            leases=True,
        )
        try:
            async with asyncio.timeout(timeout):
                return await self._first(hello)
        except TimeoutError:
            wanted = ", ".join(types)
            raise TimeoutError(f"no job of type {wanted} came within {timeout} s") from None

    async def finish(self, job: DequeuedJob | JobLike, result: Any) -> None:
        """See `JobQueue.finish_job`."""
        await self._report(job, "finished", to_json(result, "result"))

    async def fail(
        self, job: DequeuedJob | JobLike, message: str, *, code: str, retry: bool
    ) -> None:
        """See `JobQueue.fail_job`."""
        failed = reports.Failed(code=code, message=message[:20_000], retry=retry)
        await self._report(job, "failed", messages.encode(failed))

    async def close(self) -> None:
        """Give up every dequeue under way and hand back every job at hand."""
        self._is_closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                for taking in self._taking:
                    taking.interrupt("the client was closed")
                await asyncio.gather(*(taking.ended.wait() for taking in self._taking))
                await asyncio.gather(*(self._hand_back(held) for held in self._held.values()))
                await asyncio.gather(*self._tasks)
                await self._say_goodbye()
        self._held.clear()
        self._is_closing = False

    async def _first(self, hello: messages.Hello) -> DequeuedJob:
        was_answered = False
        while True:
            try:
                welcome = await self._greet(hello)
                was_answered = True
                held = await self._take(hello, welcome)
            except Unavailable as error:
                if self._is_closing or not (was_answered and self._requests.is_open):
                    raise
                log.warning("still waiting for a job: %s", error)
                await asyncio.sleep(PAUSE)
            else:
                before = self._held.get(held.job.id)
                if before is not None:  # another hand-over, which is void by now
                    self._start(before.let_go())
                self._held[held.job.id] = held
                return held.job

    async def _greet(self, hello: messages.Hello) -> messages.Welcome:
        """Make sure that the queues exist, and be listed among the workers."""
        welcome = await self._requests.ask("hello", hello, messages.Welcome, timeout=self._timeout)
        self._last_hello = hello
        return welcome

    async def _take(self, hello: messages.Hello, welcome: messages.Welcome) -> _Held:
        session = await self._requests.session(self._timeout)
        taking = Taking(self._requests, await session.open_channel())
        self._taking.add(taking)
        try:
            await taking.consume(welcome.queues)
            while True:
                delivery = await taking.next(welcome.hello_interval)
                if delivery is None:
                    await self._greet(hello)
                    continue
                job = await self._claim(taking, delivery)
                if job is not None:
                    # No await from here to the caller: a cancel would lose the job.
                    held = _Held(job, delivery, self._start(taking.stop(keep=delivery)))
                    held.leasing = self._lease(held, welcome.lease_after)
                    return held
        except BaseException:
            await asyncio.shield(self._start(taking.stop()))
            raise
        finally:
            self._taking.discard(taking)

    def _lease(self, held: _Held, after: float) -> asyncio.Task[Verdict]:
        """Hold a job by lease once it takes long; who finishes it is told if that was refused."""
        token = held.job.token
        return asyncio.create_task(
            keep_lease(self._requests, token, self._worker, after=after, granted=held.acknowledge)
        )

    async def _claim(self, taking: Taking, delivery: Delivery) -> DequeuedJob | None:
        """Return the job, once the scheduler says that it is ours; None if it is not to be run."""
        try:
            job = await self._completed(read_job(delivery))
        except Invalid as problem:
            await taking.reject(delivery, problem)
            return None
        except NotExist as error:
            await taking.hand_back(delivery, f"not started: {error}")
            return None
        body = messages.encode(reports.Started(worker=self._worker))
        found = await self._requests.report(
            "started", job.token, body, timeout=self._timeout, repeat=False
        )
        if delivery.is_lost:
            return None  # somebody else has it by now
        if found.verdict is Verdict.ACCEPTED:
            return job
        await taking.hand_back(delivery, f"not started: {found.verdict}")
        return None

    async def _completed(self, job: DequeuedJob) -> DequeuedJob:
        """Return the job with the ids of all its dependencies.

        Raises:
            NotExist: the scheduler knows no such job.
        """
        if len(job.dependencies) >= job.dependency_count:
            return job
        status = await self._status(job.id)
        return replace(job, dependencies=tuple(JobId(item.job) for item in status.dependencies))

    async def _report(self, job: DequeuedJob | JobLike, kind: str, body: bytes) -> None:
        identity = job_id_of(job)
        held = self._held.get(identity)
        if isinstance(job, DequeuedJob):
            token = job.token
        elif held is not None:
            token = held.job.token
        else:
            raise _not_at_hand(await self._status(identity))
        found = await self._requests.report(kind, token, body, timeout=self._timeout)
        if held is not None and held.job.token == token:
            self._held.pop(identity, None)
            await asyncio.shield(self._start(held.let_go()))
        if (
            found.verdict is Verdict.STALE
            and found.was_repeated
            and await self._counted(identity, kind, body)
        ):
            return
        _raise_refusal(found.verdict, identity)
        if kind == "finished" and found.state is State.FAILED:
            status = await self._status(identity)
            raise Invalid(status.reason, {"field": "result"})

    async def _counted(self, job: JobId, kind: str, body: bytes) -> bool:
        """Whether the first of two equal reports is what ended the attempt.

        The answer to it was lost with the connection, and the second one came too late.
        """
        if kind != "finished":
            return True
        return (await self._status(job)).raw_result == body

    async def _status(self, job: JobId) -> JobStatus:
        request = messages.GetStatus(jobs=[job])
        page = await self._requests.ask(
            "status", request, messages.StatusPage, timeout=self._timeout
        )
        return from_page(page)[0]

    async def _hand_back(self, held: _Held) -> None:
        await held.end_lease()
        await held.stopping
        reason = "its client was closed"
        if held.is_acknowledged:
            with suppress(Unavailable):  # its lease lapses
                await release(self._requests, held.job.token, reason)
        else:
            await hand_back(self._requests, held.delivery, reason)
        await held.delivery.channel.close()

    async def _say_goodbye(self) -> None:
        """Be listed among the workers no more."""
        if self._last_hello is not None:
            goodbye = structs.replace(self._last_hello, stopping=True)
            self._last_hello = None
            with suppress(Unavailable):
                await self._requests.ask(
                    "hello", goodbye, messages.Welcome, timeout=GOODBYE_TIMEOUT
                )

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` to its end, whatever becomes of the task that wants it done."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _not_at_hand(status: JobStatus) -> NotRunning | Canceled:
    if status.canceled:
        return Canceled(f"job {status.id} was canceled", {"job": status.id})
    if status.is_final:
        return NotRunning(f"job {status.id} is {status.state} already", {"job": status.id})
    where = f", on worker {status.worker}" if status.worker else ""
    return NotRunning(
        f"job {status.id} is {status.state}{where}; only the client that dequeued it can end it",
        {"job": status.id},
    )


def _raise_refusal(verdict: Verdict, job: JobId) -> None:
    details = {"job": job}
    match verdict:
        case Verdict.ACCEPTED:
            return
        case Verdict.STALE:
            text = f"job {job} is not running in this attempt any more: it timed out, or has ended"
            raise NotRunning(text, details)
        case Verdict.CANCELED:
            raise Canceled(f"job {job} was canceled; its result is discarded", details)
        case Verdict.NOT_EXIST:
            raise NotExist(f"no job has the id {job}: it was forgotten", details)
    assert_never(verdict)
