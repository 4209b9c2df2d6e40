"""Messages out: jobs with confirms in flight together, answers, control messages, events."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from broker_queue.amqp.channel import Channel, Delivery, Outgoing
from broker_queue.amqp.connection import Connection, Session
from broker_queue.amqp.failures import CALL_TIMEOUT, Unroutable
from broker_queue.errors import Unavailable
from broker_queue.failpoints import Point, failpoint
from broker_queue.protocol import names as words
from broker_queue.protocol.messages import CancelControl, JobEvent, Message, encode
from broker_queue.protocol.names import Names, event_key, routing_key
from scheduler.broker.topology import Topology

log = logging.getLogger(__name__)

MAX_UNCONFIRMED = 500
"""Publishes in flight together: confirming many at once walks all of them."""

MAX_EVENTS_WAITING = 20_000
"""Events are a service to those who watch; when the broker is slow, the oldest are dropped."""

EVENTS_AT_ONCE = 200

TOKENS_IN_A_MESSAGE = 500

CONFIRM_PATIENCE = 600.0
"""Seconds for the confirm of a job. It may take long: a memory or disk alarm, a quorum queue without
its majority. To publish it again meanwhile would only make copies, so it is waited for."""

LOGGED_AT_ONCE = 5
"""Parked messages of one batch that have log lines of their own."""

PROMPTLY = 5.0
"""Seconds for what the loop itself publishes; the leadership must be renewed in the meantime."""


class JobMessage(NamedTuple):
    """A job as it goes to its queue; (`key`, `handover`) names it when it is confirmed."""

    key: int
    handover: int
    type: str
    channel: str
    message: Outgoing


class Outbox:
    """Publishes on a connection of its own, since the broker may block one that publishes.

    Args:
        url: of the broker.
        names: of the namespace.
        topology: declared on each new connection.
        filled: returns type and channel of the queues that jobs were put into.
        on_up: called when there is a new connection.
    """

    def __init__(
        self,
        url: str,
        names: Names,
        topology: Topology,
        filled: Callable[[], Awaitable[set[tuple[str, str]]]],
        on_up: Callable[[], None],
    ) -> None:
        self._filled = filled
        self._names = names
        self._topology = topology
        self._on_up = on_up
        self._connection = Connection(
            url, name=f"{names.namespace} scheduler, publishing", setup=self._setup
        )
        self._confirmed: Channel | None = None
        self._answers: Channel | None = None
        self._feed: Channel | None = None
        self._room = asyncio.Semaphore(MAX_UNCONFIRMED)
        self._events: deque[JobEvent] = deque(maxlen=MAX_EVENTS_WAITING)
        self._events_wanted = asyncio.Event()

    async def start(self) -> None:
        """Connect, and keep connected."""
        await self._connection.start()

    async def close(self) -> None:
        await self._connection.close()

    async def session(self) -> Session:
        """Return the publishing session, for declaring and probing.

        Raises:
            Unavailable: there is no connection.
        """
        return await self._connection.session()

    @property
    def is_up(self) -> bool:
        return self._connection.is_up

    async def publish_job(self, job: JobMessage) -> None:
        """Return once the broker has confirmed a job; a queue that was deleted is made again.

        Raises:
            Unavailable: not confirmed; publish it again once the connection is back.
        """
        async with self._room:
            try:
                await self._publish_job(job)
            except Unroutable:
                queue = (job.type, job.channel)
                if await self.declare([queue], anew=True):
                    raise Unavailable(
                        f"the broker refuses the queue of type {job.type!r}"
                    ) from None
                await self._publish_again(job)

    async def declare(
        self, queues: Iterable[tuple[str, str]], *, anew: bool = False
    ) -> set[tuple[str, str]]:
        """Make sure that the queues of these types and channels exist; return those refused.

        Args:
            queues: type and channel of each.
            anew: also those that this connection declared before: somebody may have deleted them.

        Raises:
            Unavailable: the broker did not answer.
        """
        session = await self.session()
        declaring = self._topology.declare_job_queues(session, queues, anew=anew)
        return await session.unless_lost(declaring)

    async def revoke(self, tokens: Iterable[tuple[str, str, str]]) -> None:
        """Tell the workers of a type and channel which tokens are canceled; confirmed.

        Raises:
            Unavailable: not all confirmed; tell all of it again.
            Unroutable: somebody deleted the exchange; the next connection makes it anew.
        """
        by_key: dict[str, list[str]] = {}
        for job_type, channel, token in tokens:
            by_key.setdefault(routing_key(job_type, channel), []).append(token)
        messages = [
            Outgoing(
                exchange=self._names.control,
                routing_key=key,
                body=encode(CancelControl(tokens=listed[start : start + TOKENS_IN_A_MESSAGE])),
                type="cancel",
                mandatory=False,
                persistent=False,
            )
            for key, listed in by_key.items()
            for start in range(0, len(listed), TOKENS_IN_A_MESSAGE)
        ]
        confirmed = self._channel
        await asyncio.gather(*(_publish_promptly(confirmed, message) for message in messages))

    async def answer(
        self, reply_to: str, correlation_id: str | None, kind: str, body: Message
    ) -> None:
        """Answer a request or report; whoever has gone away meanwhile asks again."""
        message = Outgoing(
            exchange="",
            routing_key=reply_to,
            body=encode(body),
            type=kind,
            correlation_id=correlation_id,
            mandatory=False,
            persistent=False,
        )
        try:
            if self._answers is not None and not self._answers.session.is_blocked:
                await _publish_promptly(self._answers, message)
        except Unavailable as error:
            log.debug("an answer was lost: %s", error)

    async def park(self, messages: Sequence[tuple[Delivery, str]]) -> None:
        """Put messages that cannot be answered, with their reasons, where an operator finds them.

        Raises:
            Unavailable: not all confirmed; none of the messages must be acknowledged.
        """
        for delivery, reason in messages[:LOGGED_AT_ONCE]:
            log.warning("parked a message of %s: %s", delivery.routing_key, reason)
        if len(messages) > LOGGED_AT_ONCE:
            more = len(messages) - LOGGED_AT_ONCE
            log.warning("parked %d more messages in the same moment", more)
        await asyncio.gather(*(self._park(*message) for message in messages))

    async def _park(self, delivery: Delivery, reason: str) -> None:
        await _publish_promptly(
            self._channel,
            Outgoing(
                exchange="",
                routing_key=self._names.parked,
                body=delivery.body,
                type=delivery.type,
                correlation_id=delivery.correlation_id,
                headers={words.HEADER_REASON: reason[:2_000]},
                mandatory=False,
            ),
        )

    def tell(self, events: Sequence[JobEvent]) -> None:
        """Have `feed` publish events; they are not confirmed."""
        self._events.extend(events)
        self._events_wanted.set()

    @property
    def _channel(self) -> Channel:
        if self._confirmed is None:
            raise Unavailable("the scheduler has no connection to the broker")
        if self._confirmed.session.is_blocked:
            raise Unavailable("the broker is short of memory or disk and takes no messages")
        return self._confirmed

    async def _publish_job(self, job: JobMessage) -> None:
        channel = self._confirmed
        if channel is None:
            raise Unavailable("the scheduler has no connection to the broker")
        await channel.session.unblocked()
        failpoint(Point.BEFORE_PUBLISH)
        await _publish(channel, job.message, CONFIRM_PATIENCE)
        failpoint(Point.AFTER_CONFIRM)

    async def _publish_again(self, job: JobMessage) -> None:
        try:
            await self._publish_job(job)
        except Unroutable as error:
            raise Unavailable(f"queue of type {job.type!r} was deleted again: {error}") from error

    async def _setup(self, session: Session) -> None:
        confirmed = await session.open_channel()
        await self._topology.declare(confirmed)
        await self._probe(confirmed)
        await self._topology.restore(session, await self._filled())
        self._answers = await session.open_channel(confirms=False)
        self._feed = await session.open_channel(confirms=False)
        self._confirmed = confirmed
        self._on_up()

    async def _probe(self, channel: Channel) -> None:
        """See that the broker takes messages: it blocks a connection only once it publishes.

        Otherwise each connection made during an alarm would leave copies of jobs with the broker.

        Raises:
            Unavailable: it confirms nothing at present.
        """
        nowhere = Outgoing(
            exchange="", routing_key=f"{self._names.namespace}.nowhere", body=b"", mandatory=False
        )
        await channel.publish(nowhere, CALL_TIMEOUT)

    async def feed(self) -> None:
        """Publish events as the broker takes them, until this is canceled."""
        while True:
            await self._events_wanted.wait()
            self._events_wanted.clear()
            while self._events:
                count = min(EVENTS_AT_ONCE, len(self._events))
                events = [self._events.popleft() for _ in range(count)]
                messages = [(event_key(e.type, e.state), encode(e)) for e in events]
                try:
                    if self._feed is not None and not self._feed.session.is_blocked:
                        await self._feed.broadcast(self._names.events, "event", messages)
                except Unavailable as error:
                    log.debug("%d events were lost: %s", count, error)
                await asyncio.sleep(0)


async def _publish_promptly(channel: Channel, message: Outgoing) -> None:
    await _publish(channel, message, PROMPTLY)


async def _publish(channel: Channel, message: Outgoing, timeout: float) -> None:
    """Publish; a broker that does not take it in time is taken for gone.

    Else every later message would wait as long, and what is buffered would arrive twice.
    """
    with channel.silence_ends_session():
        await channel.publish(message, timeout)
