"""What a worker meets in a rehearsal, and how checks ask for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from broker_queue.address import NAMESPACE_VARIABLE, URL_VARIABLE
from broker_queue.amqp.wiretap import Consumed, Delivered, Event, Published
from broker_queue.conformance.journal import FINAL, Entry, Journal, Report, reports_in
from broker_queue.conformance.played import Conduct, HandedOut, PlayedScheduler
from broker_queue.conformance.process import WorkerProcess
from broker_queue.conformance.proxy import Proxy
from broker_queue.conformance.rehearsal import Rehearsal
from broker_queue.protocol.names import Names

GRACE = 0.3
"""Seconds that a worker has to take in what it was told, before the next thing depends on it."""

IDLE_TIMEOUT = 15.0
"""Seconds that a worker has to end what a failed check has left it with."""


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
    """

    url: str
    names: Names
    job_type: str
    rehearsal: Rehearsal
    command: tuple[str, ...] = ()
    patience: float
    start_timeout: float
    port: int = 0


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
        self.scheduler = PlayedScheduler(plan.url, plan.names, plan.job_type, self._notify)
        self.process: WorkerProcess | None = None
        self.remarks: list[tuple[str, str]] = []
        """What the present check has seen that is not as it should be, each with its advice."""
        self.hindrance = ""
        """Why nothing more can be looked at; empty as long as something can."""
        self._on_ready = on_ready
        self._echo = echo
        self._proxy = Proxy(plan.url, self._hear, plan.port)
        self._changed = asyncio.Event()
        self._cut_when: Callable[[Event], bool] | None = None
        self._handed_out: list[HandedOut] = []
        self._stack = AsyncExitStack()

    @property
    def queue(self) -> str:
        """The queue of the jobs."""
        return self.plan.names.job_queue(self.plan.job_type)

    @property
    def deaths(self) -> int:
        """How often the worker has ended by itself."""
        return len(self.process.deaths) if self.process is not None else 0

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
        job = await self.scheduler.hand_out(args, token=token, headers=headers)
        self._handed_out.append(job)
        return job

    def gave(self, token: str | None) -> bool:
        """Whether there is a job with this token among those that the present check gave."""
        return any(job.token == token for job in self._handed_out)

    def final(self, job: HandedOut) -> Report | None:
        """Return the report that ended a job, if it has come."""
        return next(iter(self.journal.reports_on(job.token, *FINAL)), None)

    async def ended(self, job: HandedOut, seconds: float | None = None) -> Report | None:
        """Wait for the report that ends a job."""
        await self.until(lambda: self.final(job), seconds)
        return self.final(job)

    def settled(self, job: HandedOut) -> bool:
        """Whether the worker holds the message of a job no more."""
        return bool(self.journal.settlements(job.token))

    def delivered(self, job: HandedOut) -> bool:
        """Whether the worker was given a job."""
        return bool(self.journal.deliveries(job.token))

    def cut(self) -> None:
        """Break the worker's connections."""
        self._proxy.cut()

    def cut_at_report(self, token: str) -> Callable[[], bool]:
        """Break its connections in place of passing on a report; return what tells if it came so."""
        return self._cut_at(lambda event: isinstance(event, Published) and _ends(event, token))

    def cut_at_delivery(self, token: str) -> Callable[[], bool]:
        """Break its connections in place of passing on a job; return what tells if it came so."""
        return self._cut_at(
            lambda event: isinstance(event, Delivered) and event.properties.correlation_id == token
        )

    def _cut_at(self, condition: Callable[[Event], bool]) -> Callable[[], bool]:
        happened: list[Event] = []

        def is_it(event: Event) -> bool:
            if not condition(event):
                return False
            happened.append(event)
            self._cut_when = None
            self._notify()
            return True

        self._cut_when = is_it
        return lambda: bool(happened)

    async def calm_down(self) -> None:
        """Wait until the worker holds no job of the rehearsal any more."""
        self._cut_when = None
        await self.scheduler.empty()

        def is_idle() -> bool:
            return all(
                self.settled(job) or not self.delivered(job) or self.final(job)
                for job in self._handed_out
            )

        if not await self.until(is_idle, IDLE_TIMEOUT):
            self.cut()
            await asyncio.sleep(GRACE)
            await self.scheduler.empty()
        self._handed_out.clear()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
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
        await self._stack.aclose()

    def _notify(self) -> None:
        self._changed.set()

    def _hear(self, connection: int, event: Event) -> bool:
        if self._cut_when is not None and self._cut_when(event):
            return False
        self.journal.add(Entry(time.monotonic(), connection, event))
        if isinstance(event, Consumed):
            self.scheduler.provide(event.queue)
        self._changed.set()
        return True


def _ends(message: Published, token: str) -> bool:
    return any(report.token == token and report.kind in FINAL for report in reports_in(message))
