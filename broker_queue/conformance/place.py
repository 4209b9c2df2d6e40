"""Where a rehearsal takes place: the exchanges and queues of a namespace, made and deleted again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from broker_queue.amqp.channel import Channel, QueueDepth
from broker_queue.amqp.connection import Connection, Session
from broker_queue.amqp.failures import CALL_TIMEOUT, NOT_FOUND, as_unavailable
from broker_queue.errors import ConfigurationError, Unavailable
from broker_queue.protocol.names import CHANNEL_PATTERN, TYPE_PATTERN, Names
from broker_queue.protocol.topology import Exchange, Queue, exchanges, job_queue, own_queues

T = TypeVar("T")

DELIVERY_LIMIT = 20

CLEANING_TIMEOUT = 5.0
"""Seconds for a new connection, if one was lost, over which to delete what was made."""


class Place:
    """Has the exchanges and queues of a namespace for the length of the block.

    Args:
        url: of the broker itself.
        names: of the namespace; no scheduler may be active in it.
        job_type: of the jobs that are handed out.
    """

    def __init__(self, url: str, names: Names, job_type: str) -> None:
        self.names = names
        self.job_type = job_type
        self._connection = Connection(url, name="conformance", setup=_nothing)
        self._channel: Channel | None = None
        self._known: set[str] = set()
        """Queues that are there."""
        self._made: list[Queue] = []
        """Those of them that were not there before."""
        self._made_exchanges: list[str] = []

    @property
    def channel(self) -> Channel:
        """A channel with confirms.

        Raises:
            ConfigurationError: the block has not begun.
        """
        if self._channel is None:
            raise ConfigurationError("the kit is not connected")
        return self._channel

    def job_queues(self, names: Iterable[str]) -> list[Queue]:
        """Return the queues of jobs among these."""
        found = []
        for name in names:
            job_type, _, channel = name.removeprefix(f"{self.names.jobs}.").partition("@")
            if name.startswith(f"{self.names.jobs}.") and _is_name(job_type, channel):
                found.append(self._job_queue(job_type, channel))
        return found

    async def depth(self) -> QueueDepth:
        """Return how many jobs lie in the queue, and how many consumers it has.

        Raises:
            Unavailable: the broker does not answer.
        """
        depth = await self._depth(await self._connection.session(), self._queue)
        return QueueDepth(0, 0) if depth is None else depth

    async def empty(self) -> None:
        """Drop the jobs that lie in the queue.

        Raises:
            Unavailable: the broker does not answer.
        """
        async with as_unavailable("the queue of the jobs cannot be emptied"):
            await self.channel.underlying.queue_purge(self._queue.name, timeout=CALL_TIMEOUT)

    async def unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something, or give it up when the broker is lost: a worker is not to blame for that.

        Raises:
            Unavailable: the connection is lost, and with it what was handed out.
        """
        return await self.channel.session.unless_lost(work)

    async def provide(self, queues: Iterable[Queue]) -> None:
        """Make job queues that are not there yet; they are deleted in the end.

        Raises:
            Unavailable: the broker does not answer.
        """
        for queue in queues:
            if queue.name not in self._known:
                self._known.add(queue.name)
                await self._look(await self._connection.session(), queue)
                await self._declare(self.channel, queue)

    async def __aenter__(self) -> Self:
        await self._connection.start(fail_fast=True)
        try:
            await self._set_up(await self._connection.session())
        except BaseException as error:
            await self._leave(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        """Delete what was made, and say so if that fails and nothing else is told.

        Raises:
            Unavailable: it names what is left.
        """
        try:
            left, problem = await self._delete()
        finally:
            await self._connection.close()
        if left and (error is None or isinstance(error, asyncio.CancelledError)):
            raise Unavailable(f"not deleted on the broker: {', '.join(left)}: {problem}")

    async def _delete(self) -> tuple[list[str], str]:
        """Delete what was not there before; return the names of what could not be, and why."""
        made = [queue.name for queue in self._made if queue.name in self._known]
        left = [*made, *self._made_exchanges]
        if not left:
            return [], ""
        try:
            async with as_unavailable("the broker is gone"), asyncio.timeout(2 * CLEANING_TIMEOUT):
                session = await self._connection.session(CLEANING_TIMEOUT)  # one may be lost
                underlying = (await session.open_channel(essential=False)).underlying
                for queue in made:
                    await underlying.queue_delete(queue, timeout=CALL_TIMEOUT)
                    left.remove(queue)
                for exchange in self._made_exchanges:
                    await underlying.exchange_delete(exchange, timeout=CALL_TIMEOUT)
                    left.remove(exchange)
        except Unavailable as problem:
            return left, str(problem)
        return [], ""

    @property
    def _queue(self) -> Queue:
        return self._job_queue(self.job_type, "")

    def _job_queue(self, job_type: str, channel: str) -> Queue:
        return job_queue(
            self.names, job_type, channel, queue_type="quorum", delivery_limit=DELIVERY_LIMIT
        )

    async def _set_up(self, session: Session) -> None:
        for queue in (*own_queues(self.names), self._queue):
            await self._check(session, queue)
        new = [each for each in exchanges(self.names) if not await self._is_there(session, each)]
        self._channel = channel = await session.open_channel(essential=False)
        underlying = channel.underlying
        for exchange in exchanges(self.names):
            if exchange in new:
                self._made_exchanges.append(exchange.name)
            await underlying.exchange_declare(
                exchange.name, exchange_type=exchange.kind, durable=True, timeout=CALL_TIMEOUT
            )
        for queue in (*own_queues(self.names), self._queue):
            self._known.add(queue.name)
            await self._declare(channel, queue)

    async def _check(self, session: Session, queue: Queue) -> None:
        """Return if a queue is not there or not in use, and nothing can be lost in it.

        Raises:
            ConfigurationError: it is in use.
        """
        depth = await self._look(session, queue)
        if depth is None:
            return
        own = queue.name in (self.names.requests, self.names.reports)
        namespace = self.names.namespace
        if own and depth.consumers:
            raise ConfigurationError(
                f"a scheduler is active in namespace {namespace!r}, and the kit has to play it; "
                "name another with --namespace, and give it to the worker too"
            )
        if not own and depth.consumers and queue.name == self._queue.name:
            raise ConfigurationError(
                f"queue {queue.name} is consumed by somebody else, who would take the worker's "
                f"jobs; stop that, or name another namespace than {namespace!r} with --namespace"
            )
        if depth.messages and queue.name != self.names.parked:
            raise ConfigurationError(
                f"queue {queue.name} is not empty ({depth.messages}), and the kit would lose what it holds; "
                f"name another namespace than {namespace!r} with --namespace, or another broker"
            )

    async def _is_there(self, session: Session, exchange: Exchange) -> bool:
        channel = await session.open_channel(confirms=False, essential=False)
        try:
            await channel.underlying.exchange_declare(
                exchange.name, passive=True, timeout=CALL_TIMEOUT
            )
        except NOT_FOUND:
            return False
        finally:
            await channel.close()
        return True

    async def _look(self, session: Session, queue: Queue) -> QueueDepth | None:
        """Return what is in a queue; None, and it is to be made, if it is not there.

        Raises:
            Unavailable: the broker does not say.
        """
        depth = await self._depth(session, queue)
        if depth is None:
            self._made.append(queue)
        return depth

    async def _depth(self, session: Session, queue: Queue) -> QueueDepth | None:
        """Return what is in a queue, if it is there.

        Raises:
            Unavailable: the broker does not say.
        """
        channel = await session.open_channel(confirms=False, essential=False)
        try:
            async with as_unavailable(f"queue {queue.name} cannot be looked at"):
                try:
                    return await channel.look(queue.name)
                except NOT_FOUND:
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


async def _nothing(_session: Session) -> None:
    """Everything is set up by hand: what is lost in a rehearsal ends it."""


def _is_name(job_type: str, channel: str) -> bool:
    return bool(re.match(TYPE_PATTERN, job_type) and re.match(CHANNEL_PATTERN, channel))
