"""The scheduler as the kit plays it: it hands out jobs, and answers as a check wants it to."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from broker_queue.amqp.channel import Channel, Delivery, Outgoing, QueueDepth
from broker_queue.amqp.connection import Connection, Session
from broker_queue.amqp.failures import BROKER_ERRORS, CALL_TIMEOUT
from broker_queue.errors import ConfigurationError
from broker_queue.graph import new_job_id
from broker_queue.job import State
from broker_queue.protocol.messages import CancelControl, Error, Message, Welcome, encode
from broker_queue.protocol.names import (
    CHANNEL_PATTERN,
    PROTOCOL_VERSION,
    TYPE_PATTERN,
    Names,
    reply_to_is_allowed,
)
from broker_queue.protocol.reports import ReportAnswer
from broker_queue.protocol.topology import Queue, exchanges, job_queue, own_queues

HELLO_INTERVAL = 1.0
LEASE_AFTER = 1.0
LEASE = 2.0
"""Seconds, as they are told to the worker: short, so that a rehearsal is."""

DELIVERY_LIMIT = 20


@dataclass(frozen=True, slots=True)
class Conduct:
    """How reports on one job are answered.

    Attributes:
        verdicts: by kind of report; `accepted` where nothing is said.
        delay: seconds before the answer.
    """

    verdicts: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A job that was put into the queue."""

    token: str
    args: bytes
    at: float


class PlayedScheduler:
    """Has the exchanges and queues of a namespace for the length of the block.

    Args:
        url: of the broker itself.
        names: of the namespace; no scheduler may be active in it.
        job_type: of the jobs that are handed out.
        on_change: called when something has arrived.
    """

    def __init__(
        self, url: str, names: Names, job_type: str, on_change: Callable[[], None]
    ) -> None:
        self._names = names
        self._type = job_type
        self._on_change = on_change
        self._connection = Connection(url, name="conformance", setup=_nothing)
        self._channel: Channel | None = None
        self._numbers = itertools.count(1)
        self._answering: set[asyncio.Task[None]] = set()
        self._known: set[str] = set()
        """Queues that are there."""
        self._made: list[Queue] = []
        """Those of them that were not there before."""
        self._conducts: dict[str, Conduct] = {}
        self.canceled: list[str] = []
        """Tokens that each answer to a ``hello`` names."""
        self.greeted = 0
        """Answers to ``hello`` so far."""
        self.arrived: list[Delivery] = []
        """Reports, as they came out of their queue."""
        self.answered: dict[tuple[str, str], float] = {}
        """When a report was answered: by token and kind."""

    def new_token(self) -> str:
        """Return the token of a job that may be handed out with it later."""
        return f"{new_job_id()}.1.{next(self._numbers)}.rehearsal"

    def conduct(self, token: str, conduct: Conduct) -> None:
        """Answer reports on this job so from now on."""
        self._conducts[token] = conduct

    async def hand_out(
        self, args: bytes, *, token: str | None = None, headers: dict[str, Any] | None = None
    ) -> HandedOut:
        """Put a job into the queue of its type.

        Args:
            args: JSON text.
            token: if it was made before.
            headers: beside the usual ones, or in place of them.

        Raises:
            Unavailable: the broker does not take it.
        """
        token = token or self.new_token()
        usual = {
            "protocol": PROTOCOL_VERSION,
            "attempt": 1,
            "max_attempts": 1,
            "dependency_count": 0,
        }
        message = Outgoing(
            exchange=self._names.jobs,
            routing_key=self._type,
            body=args,
            type=self._type,
            message_id=token.partition(".")[0],
            correlation_id=token,
            reply_to=self._names.reports,
            headers=usual | (headers or {}),
            timestamp=int(time.time()),  # noqa: TID251  # no scheduler's clock is here
        )
        await self._open().publish(message)
        return HandedOut(token, args, time.monotonic())

    async def cancel(self, *tokens: str) -> None:
        """Tell all workers of the type that these jobs are canceled."""
        await self.tell_workers(encode(CancelControl(tokens=list(tokens))), "cancel")

    async def tell_workers(self, body: bytes, kind: str) -> None:
        """Send a control message to all workers of the type."""
        await self._open().publish(
            Outgoing(
                exchange=self._names.control,
                routing_key=self._type,
                body=body,
                type=kind,
                mandatory=False,
                persistent=False,
            )
        )

    async def waiting(self) -> int:
        """Return how many jobs lie in the queue."""
        session = await self._connection.session()
        channel = await session.open_channel(confirms=False)
        try:
            return (await channel.look(self._queue.name)).messages
        finally:
            await channel.close()

    async def empty(self) -> None:
        """Drop the jobs that lie in the queue."""
        await self._open().underlying.queue_purge(self._queue.name, timeout=CALL_TIMEOUT)

    async def __aenter__(self) -> Self:
        await self._connection.start(fail_fast=True)
        try:
            await self._set_up(await self._connection.session())
        except BaseException:
            await self._connection.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        try:
            for queue in self._made:
                await self._open().underlying.queue_delete(queue.name, timeout=CALL_TIMEOUT)
        except BROKER_ERRORS:
            pass  # the broker is gone, or somebody was quicker
        finally:
            await self._connection.close()

    @property
    def _queue(self) -> Queue:
        return self._job_queue(self._type, "")

    def _job_queue(self, job_type: str, channel: str) -> Queue:
        return job_queue(
            self._names, job_type, channel, queue_type="quorum", delivery_limit=DELIVERY_LIMIT
        )

    def _open(self) -> Channel:
        if self._channel is None:
            raise ConfigurationError("the played scheduler is not connected")
        return self._channel

    async def _set_up(self, session: Session) -> None:
        for queue in (*own_queues(self._names), self._queue):
            await self._check(session, queue)
        self._channel = channel = await session.open_channel(essential=False)
        underlying = channel.underlying
        for exchange in exchanges(self._names):
            await underlying.exchange_declare(
                exchange.name, exchange_type=exchange.kind, durable=True, timeout=CALL_TIMEOUT
            )
        for queue in (*own_queues(self._names), self._queue):
            self._known.add(queue.name)
            await self._declare(channel, queue)
        await channel.consume(self._names.requests, self._on_request, prefetch=0, no_ack=True)
        await channel.consume(self._names.reports, self._on_report, prefetch=0, no_ack=True)

    async def _check(self, session: Session, queue: Queue) -> None:
        """Return if a queue is not there or not in use, and nothing can be lost in it.

        Raises:
            ConfigurationError: it is in use.
        """
        depth = await self._look(session, queue)
        if depth is None:
            return
        own = queue.name in (self._names.requests, self._names.reports)
        namespace = self._names.namespace
        if own and depth.consumers:
            raise ConfigurationError(
                f"a scheduler is active in namespace {namespace!r}, and the kit has to play it; "
                "name another with --namespace, and give it to the worker too"
            )
        if depth.messages and queue.name != self._names.parked:
            raise ConfigurationError(
                f"queue {queue.name} holds {depth.messages} messages, which the kit would lose; "
                f"name another namespace than {namespace!r} with --namespace, or another broker"
            )

    async def _look(self, session: Session, queue: Queue) -> QueueDepth | None:
        """Return what is in a queue; None, and it is to be made, if it is not there."""
        channel = await session.open_channel(confirms=False, essential=False)
        try:
            return await channel.look(queue.name)
        except BROKER_ERRORS:
            self._made.append(queue)
            return None
        finally:
            await channel.close()

    async def _declare(self, channel: Channel, queue: Queue) -> None:
        underlying = channel.underlying
        if queue in self._made:
            await underlying.queue_declare(
                queue.name, durable=True, arguments=queue.arguments, timeout=CALL_TIMEOUT
            )
        if queue.exchange is not None:
            await underlying.queue_bind(
                queue.name, queue.exchange, queue.routing_key, timeout=CALL_TIMEOUT
            )

    def provide(self, queue: str) -> None:
        """Make the queue of another type that the worker serves, if this is one and it is not there."""
        job_type, _, channel = queue.removeprefix(f"{self._names.jobs}.").partition("@")
        if queue.startswith(f"{self._names.jobs}.") and _is_name(job_type, channel):
            self._soon(self._make([self._job_queue(job_type, channel)]))

    def _on_request(self, request: Delivery) -> None:
        if request.type == "hello":
            self._soon(self._greet(request))
        else:
            error = Error(code="unavailable", message="this is a rehearsal: only hello is answered")
            self._answer_later(request, "error", error, 0.0)
        self._on_change()

    async def _greet(self, hello: Delivery) -> None:
        """Answer once the worker's queues are there."""
        queues = [self._job_queue(*each) for each in _served(hello.body) if _is_name(*each)]
        await self._make(queues)
        self.greeted += 1
        await self._answer(hello, "ok", self._welcome(queues), 0.0)
        self._on_change()

    async def _make(self, queues: Iterable[Queue]) -> None:
        """Make queues that are not there yet; they are deleted in the end."""
        for queue in queues:
            if queue.name not in self._known:
                self._known.add(queue.name)
                await self._look(await self._connection.session(), queue)
                await self._declare(self._open(), queue)

    def _welcome(self, queues: Iterable[Queue]) -> Message:
        return Welcome(
            queues=[queue.name for queue in queues],
            protocol=PROTOCOL_VERSION,
            hello_interval=HELLO_INTERVAL,
            lease_after=LEASE_AFTER,
            canceled=list(self.canceled),
        )

    def _on_report(self, report: Delivery) -> None:
        self.arrived.append(report)
        token, kind = report.correlation_id or "", report.type or "finished"
        conduct = self._conducts.get(token, Conduct())
        verdict = conduct.verdicts.get(kind, "accepted")
        lease = LEASE if verdict == "accepted" and kind in ("lease", "heartbeat") else None
        state = State.RUNNING if verdict == "accepted" else State.CANCELED
        self._answer_later(report, verdict, ReportAnswer(state=state, lease=lease), conduct.delay)
        self._on_change()

    def _answer_later(self, question: Delivery, kind: str, body: Message, delay: float) -> None:
        self._soon(self._answer(question, kind, body, delay))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, question: Delivery, kind: str, body: Message, delay: float) -> None:
        if not (question.reply_to and reply_to_is_allowed(question.reply_to)):
            return
        await asyncio.sleep(delay)
        asked = (question.correlation_id or "", question.type or "finished")
        self.answered.setdefault(asked, time.monotonic())
        await self._open().publish(
            Outgoing(
                exchange="",
                routing_key=question.reply_to or "",
                body=encode(body),
                type=kind,
                correlation_id=question.correlation_id,
                mandatory=False,
                persistent=False,
            )
        )


async def _nothing(_session: Session) -> None:
    """Everything is set up by hand: what is lost in a rehearsal ends it."""


def _served(hello: bytes) -> list[tuple[str, str]]:
    """Return types and channels of a worker, whatever else is wrong with what it says of itself."""
    try:
        told = json.loads(hello)
        types, channels = told["types"], told.get("channels", [""])
        return [(str(kind), str(channel)) for kind in types for channel in channels]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _is_name(job_type: str, channel: str) -> bool:
    return bool(re.match(TYPE_PATTERN, job_type) and re.match(CHANNEL_PATTERN, channel))
