"""A scheduler that answers only what a test tells it to, to show what clients do with answers."""

from __future__ import annotations

import asyncio
from types import TracebackType

from broker_queue.amqp.channel import Channel, Delivery, Outgoing
from broker_queue.amqp.connection import Connection, Session
from broker_queue.protocol.messages import Message, encode
from broker_queue.protocol.names import Names
from scheduler.broker.topology import Topology


class FakeScheduler:
    """Has the exchanges and queues of a namespace; its requests and reports are a test's to answer.

    Args:
        url: of the broker.
        namespace: of its queues.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._names = Names(namespace)
        self._connection = Connection(url, name=f"fake scheduler {namespace}", setup=self._set_up)
        self._channel: Channel | None = None
        self.requests: asyncio.Queue[Delivery] = asyncio.Queue()
        self.reports: asyncio.Queue[Delivery] = asyncio.Queue()

    async def answer(self, question: Delivery, kind: str, body: Message) -> None:
        """Answer a request or report."""
        assert self._channel is not None
        reply_to = question.reply_to or ""
        await self._channel.publish(
            Outgoing.answer(
                reply_to, question.correlation_id, question.message_id, kind, encode(body)
            )
        )

    async def __aenter__(self) -> FakeScheduler:
        await self._connection.start(fail_fast=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def _set_up(self, session: Session) -> None:
        self._channel = await session.open_channel()
        await Topology(self._names, "quorum", 20, lambda: None).declare(self._channel)
        for queue, waiting in (
            (self._names.requests, self.requests),
            (self._names.reports, self.reports),
        ):
            await self._channel.consume(queue, waiting.put_nowait, prefetch=0, no_ack=True)
