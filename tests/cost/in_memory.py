"""Workloads without a database: what is done for each message on its way in and out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import msgspec

from broker_queue.amqp.channel import Delivery, Outgoing
from broker_queue.amqp.framing import message_frames
from broker_queue.background import Background
from broker_queue.graph import Graph
from broker_queue.job_message import read_job
from broker_queue.parts import in_parts
from broker_queue.protocol.messages import encode
from broker_queue.protocol.names import Names
from scheduler.broker.inbox import Batch
from scheduler.broker.outbox import JobMessage, JobSettled
from scheduler.incoming.reports import Terms
from scheduler.incoming.sorting import sort
from scheduler.operations.transaction import Effects
from scheduler.publishing import Publishing
from scheduler.rules.submission import Limits, id_bytes, plan_submit
from scheduler.store.dispatch import Handout
from scheduler.tokens import Tokens
from tests.cost.counting import bytecodes, calls
from tests.cost.database import NOW, job_id
from tests.cost.transactions import chained, flat

TOKENS = Tokens(b"x" * 32)
FRAME = 131_064


def plan(count: int) -> Callable[[], object]:
    """Plan a submit of jobs that depend on nothing."""
    return partial(plan_submit, flat(count), [], Limits())


def plan_chained(count: int) -> Callable[[], object]:
    """Plan a submit of pairs of jobs, one after the other."""
    return partial(plan_submit, chained(count // 2), [], Limits())


def read_reports(count: int) -> Callable[[], object]:
    """Read a message with this many reports."""
    items = [
        {"token": TOKENS.make(_id(number), 1, number + 1), "started": NOW, "body": {"sum": 42}}
        for number in range(count)
    ]
    message = Outgoing(
        exchange="reports", routing_key="reports", body=msgspec.json.encode(items), type="batch"
    )
    batch = Batch(reports=[_delivery(message)])
    return partial(sort, batch, TOKENS, Terms(1 << 20, 60_000), lambda _: False)


def publish(count: int) -> Callable[[], object]:
    """Turn this many handouts into what goes to the socket."""
    handouts = _handouts(count)
    return lambda: asyncio.run(_publish(handouts))


def read_jobs(count: int) -> Callable[[], object]:
    """Read this many messages of jobs, as a worker does."""
    deliveries = [_delivery(it.message) for it in asyncio.run(_publish(_handouts(count)))]
    return lambda: [read_job(delivery) for delivery in deliveries]


def build_graph(count: int) -> Callable[[], object]:
    """Build a graph in which half of the jobs take a result, up to the bodies of its messages."""

    def build() -> list[bytes]:
        graph = Graph("cost")
        for number in range(count // 2):
            first = graph.add("work", {"n": number})
            graph.add("work", {"n": first.result["n"]})
        return [encode(part) for part in in_parts(graph.to_message())]

    return build


class _Socket:
    """An outbox that is always connected: it makes the frames, and sends them nowhere."""

    is_up = True

    def __init__(self) -> None:
        self.published: list[JobMessage] = []

    async def declare(self, _queues: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        return set()

    async def publish_jobs(self, jobs: Sequence[JobMessage], settled: JobSettled) -> None:
        for job in jobs:
            message_frames(job.message, 1, FRAME)
            self.published.append(job)
            settled(job, None)


async def _publish(handouts: list[Handout]) -> list[JobMessage]:
    background, socket = Background(), _Socket()
    outbox, reader = cast(Any, socket), cast(Any, None)
    publishing = Publishing(outbox, reader, Names("cost"), TOKENS, background, lambda: None)
    publishing.start(Effects(handouts=handouts))
    confirmed = await publishing.finish(60.0)
    assert len(confirmed) == len(handouts)
    await background.close()
    return socket.published


IN_MEMORY: dict[str, Callable[[], Callable[[], object]]] = {
    "plan of 1,000 flat jobs": partial(plan, 1_000),
    "plan of 1,000 jobs in pairs": partial(plan_chained, 1_000),
    "reading a message of 200 reports": partial(read_reports, 200),
    "publishing 200 jobs": partial(publish, 200),
    "reading 200 messages of jobs": partial(read_jobs, 200),
    "building a graph of 1,000 jobs": partial(build_graph, 1_000),
}


async def count_calls(name: str) -> dict[str, int]:
    """Return how many of our functions a workload calls, in a thread that runs nothing else."""
    work = await asyncio.to_thread(IN_MEMORY[name])
    counted, _ = await asyncio.to_thread(calls, work)
    return {"calls": counted}


async def count_bytecodes(make: Callable[[int], Callable[[], object]], count: int) -> int:
    """Return how many instructions of Python a workload of this size takes."""
    work = await asyncio.to_thread(make, count)
    counted, _ = await asyncio.to_thread(bytecodes, work)
    return counted


def _handouts(count: int) -> list[Handout]:
    return [_handout(number) for number in range(count)]


def _handout(number: int) -> Handout:
    return Handout(
        key=number + 1,
        id=_id(number),
        type="work",
        channel="",
        name=None,
        graph_id=_id(1 << 40),
        attempt=1,
        handover=1,
        max_attempts=1,
        priority=4,
        timeout=None,
        dependency_count=0,
        reference_count=0,
        traceparent=None,
        args=b'{"n":0}',
        republished=False,
    )


def _delivery(message: Outgoing) -> Delivery:
    return Delivery(
        channel=cast(Any, None),
        tag=1,
        body=message.body,
        type=message.type,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        headers=message.headers,
        routing_key=message.routing_key,
        redelivered=False,
    )


def _id(number: int) -> bytes:
    return id_bytes(job_id(number), "id")
