"""What the scheduler declares, and what it does about queues that are gone or are others'."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from aiormq.exceptions import ChannelClosed, ChannelNotFoundEntity, ChannelPreconditionFailed

from broker_queue.amqp.channel import Channel, QueueDepth
from broker_queue.amqp.connection import Session
from broker_queue.amqp.failures import CALL_TIMEOUT, as_unavailable, describe
from broker_queue.protocol.names import Names, routing_key
from broker_queue.protocol.topology import exchanges, job_queue, own_queues

log = logging.getLogger(__name__)

NO_SUCH_QUEUE = "no queue"
"""RabbitMQ says 404 also of a queue whose node is down; this is in the text when it is not there."""


class Topology:
    """Exchanges and queues of one namespace.

    Args:
        names: of the namespace.
        queue_type: ``quorum`` or ``classic``, of the job queues.
        delivery_limit: for quorum job queues.
        on_made: called when a job queue was not there and has been made.
    """

    def __init__(
        self, names: Names, queue_type: str, delivery_limit: int, on_made: Callable[[], None]
    ) -> None:
        self._names = names
        self._queue_type = queue_type
        self._delivery_limit = delivery_limit
        self._on_made = on_made
        self._declared: set[tuple[str, str]] = set()
        self._filled: set[tuple[str, str]] = set()
        """Queues that may hold jobs: if one of these is not there, its jobs are gone."""
        self._made: set[tuple[str, str]] = set()
        self._foreign: set[str] = set()
        """Queues that somebody else declared in another way; the log has said so."""
        self._refusals: dict[str, str] = {}
        """Queues that the broker refuses, and why; the log has said so."""

    def refusal(self, queue: str) -> str | None:
        """Return why the broker refuses a queue, as far as that is known."""
        return self._refusals.get(queue)

    def is_foreign(self, queue: str) -> bool:
        """Whether somebody else declared a queue that is used as it is."""
        return queue in self._foreign

    def take_made(self) -> set[tuple[str, str]]:
        """Return the job queues that were made since this was last asked: what they held is gone."""
        made, self._made = self._made, set()
        return made

    def put_back(self, made: Iterable[tuple[str, str]]) -> None:
        """Keep what could not be noted."""
        self._made.update(made)

    async def restore(self, session: Session, filled: Iterable[tuple[str, str]]) -> None:
        """Look, on a new session, at the queues that jobs were put into; make those that are gone.

        Raises:
            Unavailable: the broker did not answer.
        """
        self._filled.update(filled)
        await self.declare_job_queues(session, set(filled), anew=True)

    async def declare(self, channel: Channel) -> None:
        """Declare the exchanges, and the queues that the scheduler itself reads.

        Raises:
            Unavailable: the broker did not answer, or refuses.
        """
        self._declared.clear()
        async with as_unavailable("the scheduler's own queues could not be declared"):
            await self._declare(channel)

    async def _declare(self, channel: Channel) -> None:
        underlying = channel.underlying
        for exchange in exchanges(self._names):
            await underlying.exchange_declare(
                exchange.name, exchange_type=exchange.kind, durable=True, timeout=CALL_TIMEOUT
            )
        for queue in own_queues(self._names):
            await underlying.queue_declare(
                queue.name, durable=True, arguments=queue.arguments, timeout=CALL_TIMEOUT
            )
            if queue.exchange is not None:
                await underlying.queue_bind(
                    queue.name, queue.exchange, queue.routing_key, timeout=CALL_TIMEOUT
                )

    def has_declared(self, queues: Iterable[tuple[str, str]]) -> bool:
        """Whether this connection has declared the queues of all these types and channels."""
        return self._declared.issuperset(queues)

    async def declare_job_queues(
        self, session: Session, queues: Iterable[tuple[str, str]], *, anew: bool = False
    ) -> set[tuple[str, str]]:
        """Declare the queues of these types and channels.

        Those that this connection declared before are left out, unless `anew`: then it is also
        noted which of them had been there, and were not any more.

        Returns:
            Those that the broker refuses; the log says why.

        Raises:
            Unavailable: the broker did not answer.
        """
        wanted = sorted(set(queues) if anew else set(queues) - self._declared)
        if not wanted:
            return set()
        refused: set[tuple[str, str]] = set()
        filled = [queue for queue in wanted if queue in self._filled] if anew else []
        missing = await self._missing(session, filled) if filled else set()
        async with as_unavailable("job queues could not be declared"):
            channel = await session.open_channel(essential=False)
            try:
                await asyncio.gather(
                    *(self._declare_job_queue(channel, *queue) for queue in wanted)
                )
            except ChannelClosed:
                refused = {q for q in wanted if not await self._declare_alone(session, *q)}
            finally:
                await channel.close()
        self._declared.update(set(wanted) - refused)
        self._filled.update(self._declared)
        if missing - refused:
            self._made |= missing - refused
            self._on_made()
        return refused

    async def _missing(
        self, session: Session, queues: Sequence[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """Return those of these queues that are not there.

        Raises:
            Unavailable: the broker did not answer.
        """
        names = [self._names.job_queue(*queue) for queue in queues]
        async with as_unavailable("the broker does not say which job queues there are"):
            channel = await session.open_channel(essential=False)
            try:
                await asyncio.gather(*(channel.look(name) for name in names))
            except ChannelClosed:  # by the first that is not there, or not ours
                return {
                    queue
                    for queue, name in zip(queues, names, strict=True)
                    if await self._is_missing(session, name)
                }
            finally:
                await channel.close()
        return set()

    async def _is_missing(self, session: Session, queue: str) -> bool:
        try:
            await _ask(session, queue)
        except ChannelNotFoundEntity as error:
            return NO_SUCH_QUEUE in describe(error)
        except ChannelClosed:
            pass
        return False

    async def depth(self, session: Session, queue: str) -> QueueDepth | None:
        """Return what the broker says of a queue; None if there is none, or it says nothing.

        Raises:
            Unavailable: the broker did not answer.
        """
        async with as_unavailable(f"the broker does not say how queue {queue} is"):
            try:
                return await _ask(session, queue)
            except ChannelClosed:
                return None

    async def _declare_alone(self, session: Session, job_type: str, job_channel: str) -> bool:
        """Declare one queue, return whether it can be used; other arguments are no hindrance."""
        channel = await session.open_channel(essential=False)
        try:
            await self._declare_job_queue(channel, job_type, job_channel)
        except ChannelPreconditionFailed as error:
            return await self._use_foreign(session, job_type, job_channel, describe(error))
        except ChannelClosed as error:
            self._tell_refused(job_type, job_channel, error)
            return False
        finally:
            await channel.close()
        return True

    async def _use_foreign(
        self, session: Session, job_type: str, job_channel: str, problem: str
    ) -> bool:
        """Bind a queue that exists with other arguments: jobs reach it all the same."""
        name = self._names.job_queue(job_type, job_channel)
        channel = await session.open_channel(essential=False)
        try:
            await self._bind(channel, name, routing_key(job_type, job_channel))
        except ChannelClosed as error:
            self._tell_refused(job_type, job_channel, error)
            return False
        finally:
            await channel.close()
        self._refusals.pop(name, None)
        if name not in self._foreign:
            self._foreign.add(name)
            log.warning(
                "queue %s was declared by somebody else with other arguments and is used as it is "
                "(%s); delete it when it is empty to have it declared anew",
                name,
                problem,
            )
        return True

    def _tell_refused(self, job_type: str, job_channel: str, error: ChannelClosed) -> None:
        name, problem = self._names.job_queue(job_type, job_channel), describe(error)
        if self._refusals.get(name) != problem:
            log.error("the broker refuses queue %s: %s", name, problem)
        self._refusals[name] = problem

    async def _declare_job_queue(self, channel: Channel, job_type: str, job_channel: str) -> None:
        queue = job_queue(
            self._names,
            job_type,
            job_channel,
            queue_type=self._queue_type,
            delivery_limit=self._delivery_limit,
        )
        await channel.underlying.queue_declare(
            queue.name, durable=True, arguments=queue.arguments, timeout=CALL_TIMEOUT
        )
        await self._bind(channel, queue.name, queue.routing_key)
        self._refusals.pop(queue.name, None)
        self._foreign.discard(queue.name)

    async def _bind(self, channel: Channel, queue: str, key: str) -> None:
        await channel.underlying.queue_bind(queue, self._names.jobs, key, timeout=CALL_TIMEOUT)


async def _ask(session: Session, queue: str) -> QueueDepth:
    """Ask for a queue without making it, on a channel that this may cost."""
    channel = await session.open_channel(essential=False)
    try:
        return await channel.look(queue)
    finally:
        await channel.close()
