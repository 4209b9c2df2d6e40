"""Messages out: jobs with confirms in flight together, answers, control messages, events."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from broker_queue.amqp.channel import Channel, Delivery, Outgoing
from broker_queue.amqp.connection import Connection, Session
from broker_queue.amqp.failures import CALL_TIMEOUT, Unroutable
from broker_queue.background import Background
from broker_queue.errors import BrokerQueueError, Unavailable
from broker_queue.failpoints import Point, failpoint
from broker_queue.protocol import names as words
from broker_queue.protocol.messages import CancelControl, JobEvent, Message, encode
from broker_queue.protocol.names import Names, event_key, routing_key
from scheduler.broker.topology import Topology

log = logging.getLogger(__name__)

MAX_UNCONFIRMED = 200
"""Publishes in flight together: confirming many at once walks all of them."""

WRITTEN_AT_ONCE = 50
"""Jobs in one piece, on their way to the socket."""

EVENTS_PAUSE = 0.01
"""Seconds that events wait for others, to go out together."""

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
    size: int
    """Of its args, before results are filled in."""
    message: Outgoing


Answer: TypeAlias = tuple[tuple[str, str | None, str | None], str, Message]
"""Reply address (queue, correlation id), type, body."""

JobSettled: TypeAlias = Callable[[JobMessage, BrokerQueueError | None], None]
"""Called with a job that is confirmed, or with why it is not: then publish it again."""


class Outbox:
    """Publishes on a connection of its own, since the broker may block one that publishes.

    Args:
        url: of the broker.
        names: of the namespace.
        topology: declared on each new connection.
        filled: returns type and channel of the queues that jobs were put into.
        background: for jobs whose queue is made again.
        on_up: called when there is a new connection.
    """

    def __init__(  # noqa: PLR0917  # the parts of a scheduler, put together in one place
        self,
        url: str,
        names: Names,
        topology: Topology,
        filled: Callable[[], Awaitable[set[tuple[str, str]]]],
        background: Background,
        on_up: Callable[[], None],
    ) -> None:
        self._filled = filled
        self._names = names
        self._topology = topology
        self._background = background
        self._on_up = on_up
        self._connection = Connection(
            url, name=f"{names.namespace} scheduler, publishing", setup=self._setup
        )
        self._confirmed: Channel | None = None
        self._answers: Channel | None = None
        self._feed: Channel | None = None
        self._in_flight = 0
        self._landed = asyncio.Event()
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

    async def publish_jobs(
        self,
        jobs: Sequence[JobMessage],
        settled: JobSettled,
    ) -> None:
        """Publish jobs in this order; return when all are written.

        Args:
            jobs: to their queues.
            settled: called once for each, when it is confirmed or could not be published.
        """
        for start in range(0, len(jobs), WRITTEN_AT_ONCE):
            piece = jobs[start : start + WRITTEN_AT_ONCE]
            await self._until_room(len(piece))
            await self._write(piece, settled)

    async def _until_room(self, count: int) -> None:
        while self._in_flight + count > MAX_UNCONFIRMED:
            self._landed.clear()
            await self._landed.wait()
        self._in_flight += count

    async def _write(self, jobs: Sequence[JobMessage], settled: JobSettled) -> None:
        def on_settled(index: int, error: BrokerQueueError | None) -> None:
            self._in_flight -= 1
            self._landed.set()
            if isinstance(error, Unroutable):
                again = self._publish_again(jobs[index], settled)
                self._background.start(again, "publishing a job again")
                return
            if error is None:
                failpoint(Point.AFTER_CONFIRM)
            settled(jobs[index], error)

        try:
            channel = await self._unblocked()
        except Unavailable as error:
            for index in range(len(jobs)):
                on_settled(index, error)
            return
        for _ in jobs:
            failpoint(Point.BEFORE_PUBLISH)
        await channel.publish_many([job.message for job in jobs], on_settled, CONFIRM_PATIENCE)

    async def _unblocked(self) -> Channel:
        """Return the channel for jobs once the broker takes messages."""
        channel = self._confirmed
        if channel is None:
            raise Unavailable("the scheduler has no connection to the broker")
        await channel.session.unblocked()
        return channel

    async def _publish_again(self, job: JobMessage, settled: JobSettled) -> None:
        """Publish a job that came back, since somebody deleted its queue, once that is made again."""
        error: BrokerQueueError | None = None
        try:
            if await self.declare([(job.type, job.channel)], anew=True):
                raise Unavailable(f"the broker refuses the queue of type {job.type!r}")
            await _publish(await self._unblocked(), job.message, CONFIRM_PATIENCE)
        except Unroutable as unroutable:
            error = Unavailable(f"queue of type {job.type!r} was deleted again: {unroutable}")
        except Unavailable as unavailable:
            error = unavailable
        settled(job, error)

    async def declare(
        self, queues: Collection[tuple[str, str]], *, anew: bool = False
    ) -> set[tuple[str, str]]:
        """Make sure that the queues of these types and channels exist; return those refused.

        Args:
            queues: type and channel of each.
            anew: also those that this connection declared before: somebody may have deleted them.

        Raises:
            Unavailable: the broker did not answer.
        """
        if not anew and self.is_up and self._topology.has_declared(queues):
            return set()
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

    async def answer_all(self, answers: Sequence[Answer]) -> None:
        """Answer requests and reports, as one piece; who has gone away meanwhile asks again."""
        messages = [
            Outgoing.answer(*address, kind, encode(body)) for address, kind, body in answers
        ]
        channel = self._answers
        try:
            if messages and channel is not None and not channel.session.is_blocked:
                with channel.silence_ends_session():
                    await channel.send(messages, PROMPTLY)
        except Unavailable as error:
            log.debug("%d answers were lost: %s", len(messages), error)

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
            await asyncio.sleep(EVENTS_PAUSE)
            self._events_wanted.clear()
            while self._events:
                count = min(EVENTS_AT_ONCE, len(self._events))
                events = [self._events.popleft() for _ in range(count)]
                messages = [
                    Outgoing(
                        exchange=self._names.events,
                        routing_key=event_key(event.type, event.state),
                        body=encode(event),
                        type="event",
                        mandatory=False,
                        persistent=False,
                    )
                    for event in events
                ]
                try:
                    if self._feed is not None and not self._feed.session.is_blocked:
                        await self._feed.send(messages)
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
