"""One delivery from start to acknowledgement."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec import UnsetType

from broker_queue.amqp.channel import Delivery
from broker_queue.amqp.ending import end, ended
from broker_queue.errors import Unavailable
from broker_queue.failpoints import Point, failpoint
from broker_queue.handler import Handler
from broker_queue.job import Verdict
from broker_queue.job_message import DequeuedJob
from broker_queue.leasing import keep_lease
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import encode
from broker_queue.protocol.reports import Failed, Released, Started
from broker_queue.reporting import Reporting
from broker_queue.requests import Reported
from broker_queue.running import PROGRESS_PAUSE, Job, Outcome, attempt, failed
from broker_queue.tracebacks import where

log = logging.getLogger(__name__)

STARTED_AFTER = 0.05
"""Seconds after which a job that still runs is reported as started; a shorter one needs one
report only."""

CLAIM_TIMEOUT = 10.0
"""Seconds for the answer to a claim; then it is asked again."""

CLAIM_PAUSE = 0.5
"""Seconds before that."""

MAX_LOGGED = 1_000
"""Characters of a failure's code and message; the status has all of it."""


class Execution:
    """Runs one job for the holder of one token.

    Args:
        delivery: its message; a redelivery replaces it.
        message: what that says.
        handler: of its type.
        worker: name of the worker.
        reporting: where reports go.
        max_result: bytes.
        lease_after: seconds after which it is held by lease instead of by its message.
        leased: called before its message is acknowledged for that reason.
        claims: it is started only once the scheduler says that it still may be.
    """

    def __init__(
        self,
        delivery: Delivery,
        message: DequeuedJob,
        handler: Handler,
        worker: str,
        reporting: Reporting,
        *,
        max_result: int,
        lease_after: float,
        leased: Callable[[], Awaitable[None]],
        claims: bool,
    ) -> None:
        self._delivery = delivery
        self.token = message.token
        self._message = message
        self._handler = handler
        self._worker = worker
        self._reporting = reporting
        self._max_result = max_result
        self._lease_after = lease_after
        self._on_leased = leased
        self._is_leased = False
        self._claims = claims
        self._claiming: asyncio.Task[Reported] | None = None
        self._stopped_because: str | None = None
        self._started_at: int | None = None
        self._has_told_start = False
        self._progress: bytes | None = None
        self._progress_timer: asyncio.TimerHandle | None = None
        self._progress_at = 0.0
        self._telling: asyncio.Future[bool] | None = None
        self._attempt: asyncio.Task[Outcome] | None = None
        self._job: Job | None = None
        self._leasing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle

    @property
    def has_begun(self) -> bool:
        """Whether the job function was called, or is about to be."""
        return self._job is not None

    @property
    def _may_begin(self) -> bool:
        return self._stopped_because is None and not self._delivery.is_lost

    def _is_somebody_elses(self) -> bool:
        """Whether giving the job back would take it from whoever was given it since."""
        return self._delivery.is_lost and not self._is_leased

    async def run(self) -> bool:
        """Run the job, report, and acknowledge once the report is confirmed.

        Returns:
            False if nothing was reported: the message was lost, and the job is somebody else's.
        """
        if not self._claims or await self._claim():
            return await self._conclude(await self._run())
        if self._stopped_because is None:
            return False
        return await self._conclude(_released(self._stopped_because))

    async def _claim(self) -> bool:
        """Return whether the job may be started; if not, it was stopped, or its message is lost."""
        body = encode(Started(worker=self._worker))
        requests = self._reporting.requests
        while self._may_begin:
            self._claiming = asyncio.create_task(
                requests.report("started", self.token, body, timeout=CLAIM_TIMEOUT)
            )
            try:
                await asyncio.wait([self._claiming])
            finally:
                self._claiming.cancel()  # which does nothing to what is done
            if self._claiming.cancelled():
                break  # by `stop`
            try:
                found = self._claiming.result()
            except Unavailable as error:
                log.debug("a claim was not answered: %s", error)
                await asyncio.sleep(CLAIM_PAUSE)
                continue
            if found.verdict is not Verdict.ACCEPTED:
                self._stopped_because = f"not started: {found.verdict}"
            elif self._may_begin:
                self._has_told_start = True
                return True
        return False

    async def _run(self) -> Outcome:
        failpoint(Point.BEFORE_RUN)
        loop = asyncio.get_running_loop()
        self._job = Job(self._message, self._note_progress)
        self._started_at = time.time_ns() // 1_000_000
        self._timer = loop.call_later(min(STARTED_AFTER, self._lease_after), self._on_long_run)
        self._attempt = asyncio.create_task(
            attempt(self._handler, self._job, self._max_result), name=f"job {self._job.id}"
        )
        try:
            outcome = await self._outcome(self._attempt)
        finally:
            self._timer.cancel()
            if self._leasing is not None:
                await end(self._leasing)
            if self._progress_timer is not None:
                self._progress_timer.cancel()
        self._log(outcome)
        return outcome

    async def _conclude(self, outcome: Outcome) -> bool:
        """Report how it ended, then acknowledge; return whether it was reported."""
        started = None if self._has_told_start else self._started_at
        is_void = self._is_somebody_elses if outcome.kind == "released" else None
        report = self._reporting.send(
            self.token, outcome.kind, outcome.body, started, is_void=is_void
        )
        if not await report.confirmed:
            return False
        if not self._is_leased:
            await self._acknowledge()
        return True

    async def redelivered(self, delivery: Delivery) -> None:
        """Take in a message of the job that runs here already.

        One that comes on a new session is the redelivery of the one that was lost with the old one.
        One that comes on the same session is a second copy: the broker had it when the scheduler,
        which had not noted that, published it again. Of two that are held one is enough, and the
        other would keep its place in the prefetch for good. With a lease none is needed.
        """
        if self._is_leased or delivery.channel.session is self._delivery.channel.session:
            with suppress(Unavailable):
                await delivery.acknowledge()
        else:
            self._delivery = delivery

    async def give_up(self) -> None:
        """Give the job back, uncounted, because the worker cannot deal with it."""
        if self._is_leased:
            await self._conclude(_released("the worker failed at it"))
        else:
            with suppress(Unavailable):  # the connection is gone, and with it the delivery
                await self._delivery.requeue()

    def stop(self, reason: str) -> None:
        """Stop the attempt: cancel a coroutine, tell a plain function; it is handed back."""
        if self._stopped_because is not None:
            return
        self._stopped_because = reason
        if self._claiming is not None:
            self._claiming.cancel()
        if self._job is not None and self._attempt is not None:
            self._job.stop()
            self._attempt.cancel()

    def _on_long_run(self) -> None:
        """Most jobs have ended by now, and have had no other timer than this one."""
        self._report_started()
        loop = asyncio.get_running_loop()
        left = max(0.0, self._lease_after - STARTED_AFTER)
        self._timer = loop.call_later(left, self._start_leasing)

    def _start_leasing(self) -> None:
        self._leasing = asyncio.create_task(self._keep_lease(), name=f"lease of {self._message.id}")

    async def _keep_lease(self) -> None:
        try:
            verdict = await keep_lease(
                self._reporting.requests,
                self.token,
                self._worker,
                after=0.0,
                granted=self._hold_by_lease,
            )
        except Exception:  # of one job: the others that run here go on
            log.exception("the lease of job %s cannot be kept; it is handed back", self._message.id)
            self.stop("its lease could not be kept")
            return
        self.stop("canceled" if verdict is Verdict.CANCELED else "it is another worker's by now")

    async def _hold_by_lease(self) -> None:
        with suppress(Unavailable):  # then it is consumed anew
            await self._on_leased()
        self._is_leased = True
        failpoint(Point.BEFORE_LEASE_ACK)
        await asyncio.shield(self._acknowledge())

    async def _acknowledge(self) -> None:
        while True:
            delivery = self._delivery
            with suppress(Unavailable):  # it comes again, and is known
                await delivery.acknowledge()
                failpoint(Point.AFTER_JOB_ACK)
            if delivery is self._delivery:  # it has not come again meanwhile
                return

    async def _outcome(self, running: asyncio.Task[Outcome]) -> Outcome:
        try:
            return await running
        except asyncio.CancelledError:
            if self._stopped_because is None:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    if self._job is not None:
                        self._job.stop()
                    running.cancel()
                    await ended(running)  # whatever it does to clean up is its own affair
                    raise
                return failed(asyncio.CancelledError("the job function canceled itself"))
            return _released(self._stopped_because)

    def _report_started(self) -> None:
        if self._has_told_start:
            return
        self._has_told_start = True
        body = encode(Started(worker=self._worker))
        self._reporting.send(self.token, "started", body)

    def _note_progress(self, body: bytes) -> None:
        """Send the last word of each `PROGRESS_PAUSE`.

        Only once the broker has taken the one before: while it takes none, they would fill memory.
        """
        if self._attempt is None or self._attempt.done():
            return
        self._progress = body
        if self._progress_timer is None and self._telling is None:
            wait = max(0.0, self._progress_at + PROGRESS_PAUSE - time.monotonic())
            loop = asyncio.get_running_loop()
            self._progress_timer = loop.call_later(wait, self._send_progress)

    def _send_progress(self) -> None:
        self._progress_timer = None
        if self._progress is not None:
            self._report_started()  # who tells of progress has started
            self._progress_at = time.monotonic()
            self._telling = self._reporting.send(self.token, "progress", self._progress).confirmed
            self._telling.add_done_callback(self._progress_told)
            self._progress = None

    def _progress_told(self, _told: asyncio.Future[bool]) -> None:
        self._telling = None
        if self._progress is not None:
            self._note_progress(self._progress)

    def _log(self, outcome: Outcome) -> None:
        if self._job is not None and outcome.kind == "failed":
            log.warning(
                "%s %s failed at attempt %d of %d: %s",
                self._job.type,
                self._job.id,
                self._job.attempt,
                self._job.max_attempts,
                _failure(decode(outcome.body, Failed)),
            )


def _failure(failed: Failed) -> str:
    """Return code and message, and below them where in the job's own code it happened."""
    text = f"{failed.code}: {failed.message}"
    if len(text) > MAX_LOGGED:
        text = f"{text[:MAX_LOGGED]} …"
    details = None if isinstance(failed.details, UnsetType) else json.loads(bytes(failed.details))
    traceback = details.get("traceback") if isinstance(details, dict) else None
    place = where(traceback) if isinstance(traceback, str) else ""
    return text + "".join(f"\n    {line}" for line in place.splitlines())


def _released(reason: str) -> Outcome:
    return Outcome("released", encode(Released(reason=reason)))
