"""Servers that declare their queue, as the RPC tutorial does: before the scheduler, or after it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from broker_queue.client import JobQueue
from tests.support.raw import RawClient
from tests.support.rpc_servers import RpcServer, answer
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import PATIENCE, until

TUTORIALS: list[dict[str, Any]] = [
    {},
    {"durable": True},
    {"durable": True, "arguments": {"x-queue-type": "quorum"}},
]
"""How versions of the tutorial declare their queue."""


@pytest.fixture
async def scheduler(
    broker_url: str, namespace: str, database: Path
) -> AsyncIterator[RunningScheduler]:
    """A scheduler that looks at its queues often."""
    async with RunningScheduler(
        url=broker_url, namespace=namespace, database=database, lost_after=10.0
    ) as started:
        yield started


def on_request(channel: Any, method: Any, properties: Any, body: bytes) -> None:
    answer(channel, properties, body)
    channel.basic_ack(delivery_tag=method.delivery_tag)


def skip_if_refused(raw: RawClient, declared: dict[str, Any]) -> None:
    """Leave out the queue that is neither durable nor exclusive: from 4.3 on no broker makes it."""
    version = re.search(r"(\d+)\.(\d+)", raw.channel.session.server or "")
    if not declared and version is not None and (int(version[1]), int(version[2])) >= (4, 3):
        pytest.skip(f"{raw.channel.session.server} has no such queues")


def refusal_of(url: str, queue: str, **declared: Any) -> str:
    """Declare a queue, and return what the broker says to it."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        with pytest.raises(ChannelClosedByBroker) as refused:
            connection.channel().queue_declare(queue, **declared)
    finally:
        connection.close()
    return f"{refused.value.reply_code} {refused.value.reply_text}"


@pytest.mark.parametrize("declared", TUTORIALS, ids=str)
async def test_a_server_that_declares_a_queue_which_is_there_is_refused(
    raw: RawClient, queue: JobQueue, broker_url: str, declared: dict[str, Any]
) -> None:
    skip_if_refused(raw, declared)
    await raw.request("hello", {"worker": "raw", "types": ["echo"]})
    name = raw.names.job_queue("echo")
    text = refusal_of(broker_url, name, **declared)
    assert text.startswith("406 PRECONDITION_FAILED - inequivalent arg")
    assert name in text


async def test_a_server_may_declare_passively(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    name = raw.names.job_queue("echo")
    assert refusal_of(broker_url, name, passive=True).startswith("404 NOT_FOUND - no queue")
    job = await queue.enqueue("echo", 1)
    await raw.request("hello", {"worker": "raw", "types": ["echo"]})

    def declare(channel: Any) -> None:
        channel.queue_declare(name, passive=True)

    with RpcServer(broker_url, name, on_request, declare=declare):
        assert await queue.result(job, timeout=PATIENCE) == 1


@pytest.mark.parametrize("declared", TUTORIALS, ids=str)
async def test_a_queue_that_a_server_declared_first_is_used_as_it_is(
    raw: RawClient,
    queue: JobQueue,
    broker_url: str,
    declared: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    skip_if_refused(raw, declared)
    name = raw.names.job_queue("echo")

    def declare(channel: Any) -> None:
        channel.queue_declare(name, **declared)

    with RpcServer(broker_url, name, on_request, declare=declare):
        job = await queue.enqueue("echo", 1)
        assert await queue.result(job, timeout=PATIENCE) == 1
    told = [r.getMessage() for r in caplog.records if "declared by somebody else" in r.msg]
    assert len(told) == 1
    assert f"queue {name}" in told[0]
    assert [each.foreign for each in (await queue.info()).queues] == [True]


async def test_jobs_wait_while_a_server_has_its_queue_for_itself(
    raw: RawClient, queue: JobQueue, broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = raw.names.job_queue("echo")

    def declare(channel: Any) -> None:
        channel.queue_declare(name, exclusive=True)

    with RpcServer(broker_url, name, on_request, declare=declare) as alone:
        job = await queue.enqueue("echo", 1)

        async def is_told() -> bool:
            return (await queue.explain(job)).reasons[0].kind == "queue_refused"

        await until(is_told)
        assert "RESOURCE_LOCKED" in (await queue.explain(job)).summary
        assert "RESOURCE_LOCKED" in str((await queue.info()).queues[0].refusal)
        assert alone.seen == []
    told = [r.getMessage() for r in caplog.records if "the broker refuses queue" in r.msg]
    assert len(told) == 1
    assert name in told[0]
    assert "RESOURCE_LOCKED" in told[0]
    with RpcServer(broker_url, name, on_request):
        assert await queue.result(job, timeout=PATIENCE) == 1
    found = (await queue.info()).queues[0]
    assert (found.refusal, found.foreign) == (None, False)


async def test_jobs_of_a_queue_that_goes_with_its_last_server_are_published_again(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    name = raw.names.job_queue("echo")

    def declare(channel: Any) -> None:
        channel.queue_declare(name, durable=True, auto_delete=True)

    with RpcServer(broker_url, name, lambda *_: None, declare=declare) as dying:
        jobs = [await queue.enqueue("echo", n) for n in range(5)]

        async def has_one() -> bool:
            return bool(dying.seen) and await raw.count(name) == 4

        await until(has_one)
    with RpcServer(broker_url, name, on_request):
        assert [await queue.result(job, timeout=PATIENCE) for job in jobs] == list(range(5))
    assert [each.foreign for each in (await queue.info()).queues] == [False]
