"""How a wrong worker speaks: settling, reports, questions and their answers."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any
from uuid import uuid4

import aiormq
from aiormq import spec
from aiormq.abc import DeliveredMessage

URL = os.environ.get("BROKER_QUEUE_URL", "amqp://guest:guest@localhost/")
NAMESPACE = os.environ.get("BROKER_QUEUE_NAMESPACE", "bq")
REPLY_TO = "amq.rabbitmq.reply-to"
LOST = (aiormq.exceptions.AMQPError, ConnectionError, OSError, RuntimeError, asyncio.CancelledError)
"""What a lost connection looks like."""


class Life:
    """One connection."""

    def __init__(self, connection: Any, channel: Any) -> None:
        self.connection = connection
        self.channel = channel
        self.consumers: list[tuple[Any, str]] = []
        """Those that take jobs: channel and consumer tag."""
        self.is_lost = asyncio.Event()

    async def consume(
        self, channel: Any, queue: str, callback: Any, *, no_ack: bool = False
    ) -> None:
        """Take jobs from a queue, until they are not to be taken any more."""
        started = await channel.basic_consume(queue, callback, no_ack=no_ack)
        self.consumers.append((channel, started.consumer_tag))


class Wire:
    """What a worker says over its connection.

    Args:
        fault: what it does wrong.
    """

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.name = f"wrong-{os.getpid()}"
        self.waiting: dict[str, asyncio.Future[tuple[str, Any]]] = {}
        self.life: Life | None = None
        self.first_id: str | None = None
        self.batch: list[tuple[dict[str, Any], asyncio.Future[None]]] = []
        self.asked: set[asyncio.Task[Any]] = set()

    def has(self, *faults: str) -> bool:
        return self.fault in faults

    async def on_answer(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        waiting = self.waiting.pop(self.question_of(properties), None)
        if waiting is not None and not waiting.done():
            waiting.set_result((properties.message_type or "", json.loads(message.body)))

    def on_closed(self, life: Life) -> None:
        """Wait no more for what does not come any more."""
        life.is_lost.set()
        for answer in self.waiting.values():
            answer.cancel()
        self.waiting.clear()

    def question_of(self, properties: Any) -> str:
        """Return by what a question and its answer find each other."""
        alike = self.has("takes-any-answer")
        return (properties.correlation_id if alike else properties.message_id) or ""

    def naming(self, kind: str) -> bytes:
        """Return the body of a report in which the worker names itself."""
        if self.has("another-name") or (kind == "heartbeat" and self.has("another-heartbeat")):
            return b'{"worker": "somebody"}'
        if self.has("named") or (kind == "started" and self.has("named-at-start")):
            return json.dumps({"worker": self.name}).encode()
        return b"{}"

    async def settle(self, message: DeliveredMessage, how: str) -> None:
        if self.has("auto-ack", "no-ack") and how == "ack":
            return
        if how == "ack":
            multiple = self.has("acks-multiple")
            await message.channel.basic_ack(message.delivery_tag, multiple=multiple)
        else:
            await message.channel.basic_reject(message.delivery_tag, requeue=how == "requeue")

    async def report(self, kind: str, body: bytes, token: str) -> None:
        if kind == "finished" and self.has("unknown-report"):
            kind = "result"
        if kind == "finished" and self.has("first-id"):
            token = self.first_id or token
        if self.has("batches"):
            await self.add_to_batch({"token": token, "type": kind, "body": json.loads(body)})
            return
        address = ("", f"{NAMESPACE}.reports")
        if self.has("wrong-exchange"):
            address = (f"{NAMESPACE}.results", "reports")
        if self.has("wrong-queue"):
            address = ("", "results")
        properties = self.properties(kind, None if self.has("no-id") else token)
        await self.publish(*address, body, properties)
        if kind == "finished" and self.has("answers-twice"):
            await self.publish(*address, body, properties)

    async def add_to_batch(self, item: dict[str, Any]) -> None:
        """Report together with what else is reported within a moment."""
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batch.append((item, sent))
        if len(self.batch) > 1:
            await sent
            return
        await asyncio.sleep(0.02)
        batch, self.batch = self.batch, []
        body = json.dumps([item for item, _ in batch]).encode()
        try:
            await self.publish("", f"{NAMESPACE}.reports", body, self.properties("batch", None))
        finally:
            for _, each in batch:
                each.set_result(None)

    def properties(self, kind: str, key: str | None, reply_to: str | None = None) -> Any:
        return spec.Basic.Properties(
            message_type=kind,
            correlation_id=key,
            reply_to=reply_to,
            content_type="text/plain" if self.has("text-plain") else None,
        )

    async def publish(self, exchange: str, key: str, body: bytes, properties: Any) -> None:
        if self.life is None:
            raise ConnectionError("there is no connection")
        publishing = self.life.channel.basic_publish(
            body, exchange=exchange, routing_key=key, properties=properties
        )
        if self.has("ack-before-confirm") and properties.message_type == "finished":
            task = asyncio.create_task(publishing)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            for _ in range(5):
                await asyncio.sleep(0)
        else:
            await publishing

    async def ask(
        self, exchange: str, routing_key: str, body: Any, kind: str, key: str, reply_to: str | None
    ) -> tuple[str, Any] | None:
        """Return the answer, or None if none is asked for."""
        answer = asyncio.get_running_loop().create_future()
        properties = self.properties(kind, key, reply_to)
        properties.message_id = uuid4().hex
        if reply_to is not None:
            self.waiting[self.question_of(properties)] = answer
        await self.publish(exchange, routing_key, json.dumps(body).encode(), properties)
        return await answer if reply_to is not None else None

    async def ask_about(
        self, token: str, kind: str, *, wait: bool = True, reply_to: str | None = REPLY_TO
    ) -> tuple[str, Any] | None:
        """Report with a question; return the verdict and its body."""
        body = json.loads(self.naming(kind))
        asking = self.ask("", f"{NAMESPACE}.reports", body, kind, token, reply_to)
        if wait:
            return await asking
        task = asyncio.create_task(asking)  # type: ignore[arg-type]
        self.asked.add(task)
        task.add_done_callback(self.asked.discard)
        return None
