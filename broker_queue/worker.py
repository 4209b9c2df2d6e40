"""`Worker`: takes jobs, runs their functions, reports, acknowledges.

Publishing and consuming have connections of their own: the broker may block one that publishes. A
job is acknowledged only after its report was confirmed. When a connection is lost, running jobs go
on; their messages come again and are attached to the runs that go on, not run twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from importlib.metadata import version
from typing import TypeVar
from uuid import uuid4

from broker_queue.address import resolve
from broker_queue.amqp.channel import Delivery
from broker_queue.amqp.connection import Connection, Session
from broker_queue.amqp.ending import end
from broker_queue.amqp.failures import CALL_TIMEOUT
from broker_queue.background import Background
from broker_queue.deliveries import Deliveries
from broker_queue.errors import BrokerQueueError, ConfigurationError, Invalid, Unavailable
from broker_queue.event_loop import loop_factory
from broker_queue.handler import Handler, JobFunction
from broker_queue.intake import Intake
from broker_queue.moments import to_seconds
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import CancelControl, Hello, Welcome
from broker_queue.protocol.names import CHANNEL_PATTERN, TYPE_PATTERN, routing_key
from broker_queue.reporting import Reporting
from broker_queue.requests import Requests

log = logging.getLogger(__name__)

F = TypeVar("F", bound=JobFunction)

MAX_CONCURRENCY = 10_000
MAX_NAME = 150
"""Characters; the name is part of the name of a queue."""

FIRST_PAUSE = 5.0
"""Seconds before a worker greets again; from then on it does so as often as the scheduler says."""

HELLO_TIMEOUT = 10.0


class Worker:
    """Runs jobs of the types that functions are registered for.

    Args:
        url: of the broker; else ``BROKER_QUEUE_URL``, else a local RabbitMQ.
        namespace: of the scheduler; else ``BROKER_QUEUE_NAMESPACE``, else ``bq``.
        channels: whose jobs it takes; the empty name is the channel of jobs without one.
        concurrency: jobs that run at once; as many of each type are held at most.
        name: unique; shown in ``workers`` and with each job that it runs.
        grace: how long running jobs may go on after `stop`, in seconds or as a timedelta.
        max_result_bytes: longest result; the scheduler's setting of that name is the last word.

    Raises:
        ConfigurationError: the URL or the namespace cannot work, or it would run no job.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        channels: Sequence[str] = ("",),
        concurrency: int = 8,
        name: str | None = None,
        grace: timedelta | float = timedelta(seconds=30),
        max_result_bytes: int = 1 << 20,
    ) -> None:
        resolve(url, namespace)  # for its errors: both may still be set, until it runs
        self.url = url
        self.namespace = namespace
        self.channels = channels
        self.concurrency = concurrency
        host = socket.gethostname()[:80]
        self.name = f"{host}-{os.getpid()}-{uuid4().hex[:6]}" if name is None else name
        self.grace = grace
        self._refuse_impossible()
        self._max_result = max_result_bytes
        self._handlers: dict[str, Handler] = {}
        self._claimed: set[str] = set()
        self._stop_requested = asyncio.Event()
        self._stop_now = asyncio.Event()

    @property
    def types(self) -> list[str]:
        """The job types that it has functions for."""
        return list(self._handlers)

    def job(self, type: str | None = None, *, claim: bool = False) -> Callable[[F], F]:  # noqa: A002  # the protocol's word
        """Register a function for the jobs of a type; its own name when left out.

        See `Handler` for what its parameters may be, and `register` for `claim`.

        Raises:
            ConfigurationError: the type's name is not allowed, or has a function already.
        """

        def register(function: F) -> F:
            self.register(type or function.__name__, function, claim=claim)
            return function

        return register

    def register(
        self,
        type: str,  # noqa: A002  # the protocol's word
        function: JobFunction,
        *,
        claim: bool = False,
    ) -> None:
        """Register a function for the jobs of a type.

        Args:
            type: of the jobs.
            function: is called with the args of each.
            claim: ask the scheduler before each start, at the cost of a round trip, so that a job
                whose cancel was confirmed is never started, not even if it is taken in the same
                instant. What may have come before is always claimed: redelivered by the broker,
                or published again by the scheduler.

        Raises:
            ConfigurationError: the type's name is not allowed, or has a function already.
        """
        if not re.search(TYPE_PATTERN, type):
            raise ConfigurationError(f"job type {type!r} does not match {TYPE_PATTERN}")
        if type in self._handlers:
            raise ConfigurationError(
                f"job type {type!r} has a function already: {self._handlers[type].name}()"
            )
        self._handlers[type] = Handler(function)
        if claim:
            self._claimed.add(type)

    def _refuse_impossible(self) -> None:
        """Check what may be set until it runs.

        Raises:
            ConfigurationError: it cannot work.
        """
        if isinstance(self.channels, str) or not self.channels:
            raise ConfigurationError(
                f"channels is {self.channels!r}; it is a list with at least one name, and the "
                "empty name is the channel of jobs without one"
            )
        for channel in self.channels:
            if not re.search(CHANNEL_PATTERN, channel):
                raise ConfigurationError(
                    f"channel {channel!r} is no name of a channel: up to 60 letters (a to z, A to "
                    "Z), digits and _ . : -"
                )
        if not 1 <= self.concurrency <= MAX_CONCURRENCY:
            raise ConfigurationError(
                f"concurrency is {self.concurrency}; a worker runs at least 1 job and at most "
                f"{MAX_CONCURRENCY:,} at once"
            )
        if not 1 <= len(self.name) <= MAX_NAME or not self.name.isprintable():
            raise ConfigurationError(
                f"name is {self.name!r}; it has 1 to {MAX_NAME} printable characters"
            )
        if (to_seconds(self.grace) or 0.0) < 0:
            raise ConfigurationError(f"grace is {self.grace}; it must not be negative")

    def run_forever(self) -> None:
        """Run until SIGTERM or SIGINT, then stop in order; a second signal stops at once."""
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._run_until_signal())

    def stop(self) -> None:
        """Take no more jobs, let those that run finish within `grace`, hand back the rest."""
        if self._stop_requested.is_set():
            self._stop_now.set()
        self._stop_requested.set()

    async def run(self) -> None:
        """Take and run jobs until `stop` is called.

        Where this is canceled instead, the jobs that run are canceled too, and the broker hands
        them to another worker. So it is if a part of the worker fails unexpectedly: that is logged,
        and raised.

        Raises:
            ConfigurationError: no function is registered, or the URL cannot work.
        """
        if not self._handlers:
            raise ConfigurationError(
                "no job function is registered; decorate one with @worker.job()"
            )
        self._refuse_impossible()
        url, self._names = resolve(self.url, self.namespace)
        self._stop_requested.clear()
        self._stop_now.clear()
        background = Background()
        self._intake = Intake(
            self.concurrency, lambda delivery: self._deliveries.take(delivery), background
        )
        self._requests = Requests(url, self._names, name=f"worker {self.name}, publishing")
        self._consuming = Connection(url, name=f"worker {self.name}, consuming", setup=self._set_up)
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self._requests.close)
            await self._requests.start()
            self._deliveries = Deliveries(
                self.name,
                self._handlers,
                self._claimed,
                self._max_result,
                Reporting(self._requests, background),
                self._intake,
                self._stop_requested,
            )
            closing.push_async_callback(background.close)
            await self._consuming.start()
            closing.push_async_callback(self._consuming.close)
            closing.push_async_callback(self._deliveries.abandon)
            greeting = background.start(self._keep_greeting(), "greeting")
            await background.unless_one_fails(self._serve(greeting))

    async def _serve(self, greeting: asyncio.Task[None]) -> None:
        await self._stop_requested.wait()
        log.info("worker %s stops; jobs that still run: %d", self.name, self._deliveries.running)
        await self._intake.stop()
        await self._deliveries.finish(to_seconds(self.grace) or 0.0, self._stop_now)
        await end(greeting)  # or one more greeting follows the goodbye
        if self._requests.is_up:
            with suppress(Unavailable):
                await self._greet(stopping=True)

    async def _run_until_signal(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self.run()

    async def _set_up(self, session: Session) -> None:
        """Hear control messages first, then greet, then take jobs: no cancel falls in between."""
        keys = [routing_key(kind, channel) for kind, channel in self._queues()]
        control = await session.open_channel(confirms=False)
        queue = self._names.worker_queue(self.name)
        await control.underlying.queue_declare(queue, exclusive=True, timeout=CALL_TIMEOUT)
        welcome = await self._greet_until_answered(session)
        if welcome is None:
            return
        for key in keys:
            await control.underlying.queue_bind(
                queue, self._names.control, key, timeout=CALL_TIMEOUT
            )
        await control.consume(queue, self._on_control, prefetch=0, no_ack=True)
        welcome = await self._greet_until_answered(session)
        if welcome is None:
            return
        self._deliveries.cancel(welcome.canceled)
        self._deliveries.lease_after = welcome.lease_after
        await self._intake.open(await session.open_channel(confirms=False), welcome.queues)
        log.info("worker %s takes jobs of %s", self.name, ", ".join(self.types))

    def _queues(self) -> list[tuple[str, str]]:
        return [(kind, channel) for kind in self._handlers for channel in self.channels]

    async def _greet_until_answered(self, session: Session) -> Welcome | None:
        """Return the scheduler's answer; None if the session is lost, or the worker stops, before."""
        said = False
        while not session.lost.done() and not self._stop_requested.is_set():
            try:
                return await self._greet()
            except Unavailable as error:
                if not said:
                    log.warning("%s; the worker goes on asking", error)
                    said = True
                await self._pause(1.0)
        return None

    async def _greet(self, *, stopping: bool = False) -> Welcome:
        hello = Hello(
            worker=self.name,
            types=self.types,
            channels=list(self.channels),
            concurrency=self.concurrency,
            running=self._deliveries.running,
            host=socket.gethostname(),
            pid=os.getpid(),
            software=f"broker-queue {version('broker-queue')} (Python)",
            leases=True,
            stopping=stopping,
        )
        return await self._requests.ask("hello", hello, Welcome, timeout=HELLO_TIMEOUT)

    async def _keep_greeting(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await asyncio.sleep(pause)  # also while running jobs are drained
            try:
                welcome = await self._greet()
            except Unavailable:  # the log says so of the connection
                continue
            except BrokerQueueError as error:
                log.warning("the scheduler refuses this worker's greeting: %s", error)
                continue
            self._deliveries.cancel(welcome.canceled)
            pause = welcome.hello_interval
            await self._intake.check()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop_requested.wait()

    def _on_control(self, delivery: Delivery) -> None:
        if delivery.type == "cancel":
            try:
                self._deliveries.cancel(decode(delivery.body, CancelControl).tokens)
            except Invalid as error:
                log.warning("a control message does not keep the protocol: %s", error)
