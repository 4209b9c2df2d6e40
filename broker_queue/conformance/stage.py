"""What a worker meets in a rehearsal, and how checks ask for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Container
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from broker_queue.address import NAMESPACE_VARIABLE, URL_VARIABLE
from broker_queue.amqp.ending import ended
from broker_queue.amqp.wiretap import Consumed, Delivered, Event, Published
from broker_queue.conformance.journal import FINAL, Entry, Journal, Report, reports_in
from broker_queue.conformance.place import Place
from broker_queue.conformance.played import Conduct, HandedOut, PlayedScheduler
from broker_queue.conformance.process import Death, WorkerProcess
from broker_queue.conformance.proxy import Proxy
from broker_queue.conformance.rehearsal import Rehearsal
from broker_queue.protocol.names import Names

STOP_TIMEOUT = 40.0

GRACE = 0.3
"""Seconds that a worker has to take in what it was told, before the next thing depends on it."""

IDLE_FACTOR = 1.5
"""Times the patience, that a worker has to end what a failed check has left it with."""

PURGE_AGAIN = 0.2
"""Seconds."""


OTHER_STAYS = 3.0
"""Seconds after which a consumer that the kit does not see is no left-over of a lost connection."""

LOOK_AGAIN = 0.2
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A rehearsal.

    Attributes:
        url: of the broker.
        names: of the namespace.
        job_type: that the worker serves.
        rehearsal: the args of its jobs.
        command: starts the worker; without one, somebody else does.
        port: where the worker finds the broker; 0 is any.
        patience: seconds for whatever a worker does at once.
        start_timeout: seconds until it consumes, after its start or a lost connection.
        stop_timeout: seconds until it has ended, once it was told to.
    """

    url: str
    names: Names
    job_type: str
    rehearsal: Rehearsal
    command: tuple[str, ...] = ()
    patience: float
    start_timeout: float
    stop_timeout: float = STOP_TIMEOUT
    port: int = 0


class Cut(NamedTuple):
    """When the worker's connections were broken on purpose."""

    order: int
    """Entries in the journal before."""
    connection: int
    """Number of the last one that was broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What became of the worker and its jobs when it was told to stop.

    Attributes:
        exit_code: None if it did not end, and had to be killed.
        seconds: that it took to end.
        jobs: that were in the queue, or with it.
        done: of them, those that it reported the end of.
        released: those that it reported as such.
        lost: those that it acknowledged, and reported nothing of.
        abandoned: those that ran, and went back to the queue.
        unbegun: those that it held and had not begun, and that went back without a report.
        held: those that it held when it was told.
        taken: those that it began, and was only given afterwards.
    """

    exit_code: int | None
    seconds: float
    jobs: int
    done: int
    released: int
    lost: int
    abandoned: int
    unbegun: int
    held: int
    taken: int

    @property
    def back(self) -> int:
        """How many went back to the queue, or never left it."""
        return self.jobs - self.done - self.released - self.lost

    @property
    def text(self) -> str:
        """What is shown of it."""
        how = "killed" if self.exit_code is None else f"exit code {self.exit_code}"
        return (
            f"{self.done} done, {self.released} released, {self.back} back in the queue, {how} after "
            f"{self.seconds:.1f} s"
        )


class Stage:
    """The played scheduler, the way to the broker and the worker, for the length of the block.

    Args:
        plan: of the rehearsal.
        on_ready: called with the URL for the worker before it is started.
        echo: called with each line that the worker prints.
    """

    def __init__(
        self, plan: Plan, on_ready: Callable[[str], None], echo: Callable[[str], None]
    ) -> None:
        self.plan = plan
        self.journal = Journal(plan.names)
        self.place = Place(plan.url, plan.names, plan.job_type)
        self.scheduler = PlayedScheduler(self.place, self._notify)
        self.process: WorkerProcess | None = None
        self.remarks: list[tuple[str, str]] = []
        """What the present check has seen that is not as it should be, each with its advice."""
        self.hindrance = ""
        """Why nothing more can be looked at; empty as long as something can."""
        self.refusals_seen = 0
        """Mistakes for which the broker closed something, and which are told."""
        self.first_stop: Stopped | None = None
        """What became of the jobs when the worker was first told to stop."""
        self.others_told = False
        """Whether it is told that others take from the queue."""
        self._losses = 0
        self.cuts = 0
        """How often the worker's connections were broken on purpose."""
        self._on_ready = on_ready
        self._echo = echo
        self._proxy = Proxy(plan.url, self._hear, plan.port)
        self._changed = asyncio.Event()
        self._cut_when: Callable[[Event], bool] | None = None
        self._late_confirm = ""
        """Token of the job whose report is confirmed late."""
        self._handed_out: list[HandedOut] = []
        self._stack = AsyncExitStack()

    @property
    def queue(self) -> str:
        """The queue of the jobs."""
        return self.plan.names.job_queue(self.plan.job_type)

    @property
    def deaths(self) -> list[Death]:
        """How the worker has ended by itself, each time."""
        return self.process.deaths if self.process is not None else []

    def remark(self, text: str, advice: str) -> None:
        """Note what is not wrong, and not as it should be."""
        self.remarks.append((text, advice))

    async def until(self, condition: Callable[[], Any], seconds: float | None = None) -> bool:
        """Wait for a condition, at most so long; return whether it came true.

        Args:
            condition: looked at whenever something has happened.
            seconds: the patience of the plan where none are given.
        """
        deadline = time.monotonic() + (self.plan.patience if seconds is None else seconds)
        while not condition():
            self._changed.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._changed.wait()
            except TimeoutError:
                return bool(condition())
        return True

    async def hand_out(
        self,
        args: bytes,
        *,
        token: str | None = None,
        headers: dict[str, Any] | None = None,
        conduct: Conduct | None = None,
    ) -> HandedOut:
        """Give the worker a job; `conduct` says how its reports are answered."""
        token = token or self.scheduler.new_token()
        if conduct is not None:
            self.scheduler.conduct(token, conduct)
        order = len(self.journal.entries)
        job = await self.scheduler.hand_out(args, token=token, headers=headers, order=order)
        self._handed_out.append(job)
        return job

    def forget(self, job: HandedOut) -> None:
        """Do not wait for the end of a job that is stopped, and of which nothing more is heard."""
        self._handed_out.remove(job)

    def final(self, job: HandedOut) -> Report | None:
        """Return the report that ended a job, if it has come."""
        return next(iter(self.journal.reports_on(job.token, *FINAL)), None)

    async def ended(self, job: HandedOut, seconds: float | None = None) -> Report | None:
        """Wait for the report that ends a job."""
        await self.until(lambda: self.final(job), seconds)
        return self.final(job)

    def is_stray(self, report: Report) -> bool:
        """Whether a report is on no job that is handed out, or on one that was reported on before."""
        if report.token not in {job.token for job in self._handed_out}:
            return True
        return self.journal.reports_on(report.token or "", *FINAL)[0].order < report.order

    def settled(self, job: HandedOut) -> bool:
        """Whether the worker holds the message of a job no more."""
        return bool(self.journal.settlements(job.token))

    def delivered(self, job: HandedOut) -> bool:
        """Whether the worker was given a job."""
        return bool(self.journal.deliveries(job.token))

    @property
    def takes_jobs(self) -> bool:
        """Whether the worker consumes the queue at present."""
        return self.journal.is_consumed(self.queue)

    async def others(self) -> int:
        """Return how many consumers the queue has that did not come by the way of the kit."""
        deadline = time.monotonic() + OTHER_STAYS
        while True:
            found = (await self.place.depth()).consumers - self.journal.consumer_count(self.queue)
            if found <= 0 or time.monotonic() > deadline:
                return max(0, found)
            await asyncio.sleep(LOOK_AGAIN)

    def cut(self, seconds: float = 0.0) -> Cut:
        """Break the worker's connections; for so long the broker says nothing over new ones."""
        cut = self._note_cut()
        if seconds > 0.0:
            self._proxy.hold_back(seconds)
        self._proxy.cut()
        return cut

    def cut_at_report(self, token: str, kinds: Container[str] = FINAL) -> Callable[[], Cut | None]:
        """Break its connections in place of passing on a report; return what tells if it came so.

        Args:
            token: of the job.
            kinds: of reports; those that end it, where none are given.
        """
        return self._cut_at(
            lambda event: isinstance(event, Published) and _reports(event, token, kinds)
        )

    def delay_confirm(self, token: str) -> None:
        """Let the broker's confirm of the report on a job come late."""
        self._late_confirm = token

    def cut_at_delivery(self, token: str) -> Callable[[], Cut | None]:
        """Break its connections in place of passing on a job; return what tells if it came so."""
        return self._cut_at(
            lambda event: isinstance(event, Delivered) and event.properties.correlation_id == token
        )

    def cut_no_more(self) -> None:
        """Pass on what the connections were to be broken at."""
        self._cut_when = None

    def is_since(self, order: int, cut: Cut) -> bool:
        """Whether an entry of the journal is of a connection that was made after a cut."""
        return order >= cut.order and self.journal.entries[order].connection > cut.connection

    def _cut_at(self, condition: Callable[[Event], bool]) -> Callable[[], Cut | None]:
        happened: list[Cut] = []

        def is_it(event: Event) -> bool:
            if not condition(event):
                return False
            self._cut_when = None
            happened.append(self._note_cut())
            self._notify()
            return True

        self._cut_when = is_it
        return lambda: happened[0] if happened else None

    def _note_cut(self) -> Cut:
        self.cuts += 1
        entries = self.journal.entries
        return Cut(len(entries), max((entry.connection for entry in entries), default=0))

    async def calm_down(self, *, failed: bool) -> None:
        """Wait until the worker has nothing of a check any more, and takes jobs.

        Args:
            failed: the check did, so its jobs may run on.
        """
        self.cut_no_more()
        jobs, self._handed_out = self._handed_out, []

        def left() -> list[str]:
            return [job.token for job in jobs if self._has(job) or self._leases(job)]

        if failed and left():
            await self.scheduler.cancel(*left())
        if not await self._rid_of(left) or any(self.journal.is_held(job.token) for job in jobs):
            self.cut()
            await self._rid_of(lambda: [job.token for job in jobs if self._has(job)])
        if self._is_stopped() or self.hindrance:
            return
        if not await self.until(
            lambda: self.takes_jobs or self._is_stopped(), self.plan.start_timeout
        ):
            self.hindrance = f"it does not consume {self.queue} any more"
        if self.process is not None and self.process.gave_up:
            self.hindrance = f"the worker ended {len(self.deaths)} times, and is not started again"

    async def _rid_of(self, left: Callable[[], list[str]]) -> bool:
        """Return whether the worker lets go of jobs in time; nobody else gets them."""
        deadline = time.monotonic() + IDLE_FACTOR * self.plan.patience
        await self.until(lambda: not left(), GRACE)
        while left() and time.monotonic() < deadline:
            await self.place.empty()
            await self.until(lambda: not left(), PURGE_AGAIN)
        if self._losses < self.journal.losses:
            self._losses = self.journal.losses
            await asyncio.sleep(GRACE)  # until the broker has put back what was held
        await self.place.empty()
        return not left()

    def _has(self, job: HandedOut) -> bool:
        """Whether the worker holds the message of a job that it has not reported the end of."""
        return self.journal.is_held(job.token) and not self._is_over(job)

    def _leases(self, job: HandedOut) -> bool:
        """Whether the worker has asked for a lease and has not reported the end."""
        has_ended = self._is_stopped() or any(death.at > job.at for death in self.deaths)
        if self._is_over(job) or has_ended:
            return False
        return bool(self.journal.reports_on(job.token, "lease"))

    def _is_over(self, job: HandedOut) -> bool:
        return bool(self.journal.reports_on(job.token, *FINAL, "released"))

    def _is_stopped(self) -> bool:
        process = self.process
        return process is not None and (process.gave_up or process.exit_code is not None)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.place)
            await stack.enter_async_context(self.scheduler)
            await stack.enter_async_context(self._proxy)
            self._on_ready(self._proxy.url)
            if self.plan.command:
                environment = {
                    URL_VARIABLE: self._proxy.url,
                    NAMESPACE_VARIABLE: self.plan.names.namespace,
                }
                self.process = WorkerProcess(
                    self.plan.command, environment, self._notify, self._echo
                )
                await stack.enter_async_context(self.process)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Whoever is told to stop meanwhile still cleans up.
        await ended(asyncio.create_task(self._close(kind, error, traceback)))

    async def _close(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    def _notify(self) -> None:
        self._changed.set()

    def _hear(self, connection: int, event: Event) -> bool:
        if self._cut_when is not None and self._cut_when(event):
            return False
        self.journal.add(Entry(time.monotonic(), connection, event))
        if isinstance(event, Consumed):
            self.scheduler.provide(event.queue)
        if isinstance(event, Published):
            for report in reports_in(event):
                if report.kind in FINAL:
                    self._on_end(report.token or "")
        self._changed.set()
        return True

    def _on_end(self, token: str) -> None:
        self.scheduler.end(token)
        if self._late_confirm and token == self._late_confirm:
            self._late_confirm = ""
            self._proxy.hold_back(GRACE)


def _reports(message: Published, token: str, kinds: Container[str]) -> bool:
    return any(report.token == token and report.kind in kinds for report in reports_in(message))
