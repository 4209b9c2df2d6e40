"""Servers in the shape of RabbitMQ's RPC tutorial are workers, and need to know nothing of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pika
import pytest

from broker_queue.client import JobQueue
from broker_queue.graph import Graph
from broker_queue.job import State
from tests.support.raw import RawClient
from tests.support.rpc_servers import RpcServer, answer
from tests.support.waiting import PATIENCE, until

TUTORIAL = Path(__file__).with_name("rpc_tutorial.py")


@asynccontextmanager
async def tutorial(url: str, queue: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the tutorial's program; it ends as all programs do that nobody thought about ending."""
    process = await asyncio.create_subprocess_exec(sys.executable, str(TUTORIAL), url, queue)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_tutorials_program_is_a_worker(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    graph = Graph()
    first = graph.add("fib", 7)
    second = graph.add("fib", first.result)
    last = graph.add(None, dependencies=[first, second])
    await queue.submit(graph)
    await raw.request("hello", {"worker": "raw", "types": ["fib"]})
    name = raw.names.job_queue("fib")
    await raw.until_ready(name, 1)  # who consumes a queue too early may be cut off
    async with tutorial(broker_url, name):
        await queue.wait(last, timeout=PATIENCE)
    assert [await queue.result(job) for job in (first, second)] == [13, 233]
    assert (await queue.info()).parked == 0


async def test_a_program_that_is_killed_with_a_job_is_followed_by_another(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    job = await queue.enqueue("fib", 10)
    name = raw.names.job_queue("fib")
    with RpcServer(broker_url, name, lambda *_: None) as dying:

        async def has_it() -> bool:
            return bool(dying.seen)

        await until(has_it)
    async with tutorial(broker_url, name):
        assert await queue.result(job, timeout=PATIENCE) == 55


@pytest.mark.parametrize(
    "properties",
    [
        {"content_type": "application/json"},
        {"content_type": "application/octet-stream"},
        {"content_encoding": "utf-8"},
        {"delivery_mode": 1},
        {"delivery_mode": 2},
        {"type": ""},
        {"headers": {"x-of-theirs": {"a": [1, True]}, "started": "soon"}},
        {"message_id": "1", "app_id": "theirs", "timestamp": 1, "priority": 9, "user_id": "guest"},
        {"reply_to": "somewhere"},
    ],
    ids=lambda properties: "-".join(properties),
)
async def test_a_reply_counts_whatever_else_its_properties_say(
    raw: RawClient, queue: JobQueue, broker_url: str, properties: dict[str, Any]
) -> None:
    def on_request(channel: Any, method: Any, given: Any, body: bytes) -> None:
        answer(channel, given, body, **properties)
        channel.basic_ack(delivery_tag=method.delivery_tag)

    job = await queue.enqueue("echo", {"n": 1})
    with RpcServer(broker_url, raw.names.job_queue("echo"), on_request):
        assert await queue.result(job, timeout=PATIENCE) == {"n": 1}
    assert (await queue.info()).parked == 0


async def test_a_server_that_acknowledges_before_it_replies_is_a_worker(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    def on_request(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(delivery_tag=method.delivery_tag)
        answer(channel, properties, body)

    jobs = [await queue.enqueue("echo", n) for n in range(3)]
    with RpcServer(broker_url, raw.names.job_queue("echo"), on_request):
        assert [await queue.result(job, timeout=PATIENCE) for job in jobs] == [0, 1, 2]


async def test_a_server_with_automatic_acknowledgement_is_a_worker(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    def on_request(channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        answer(channel, properties, body)

    jobs = [await queue.enqueue("echo", n) for n in range(3)]
    with RpcServer(broker_url, raw.names.job_queue("echo"), on_request, auto_ack=True):
        assert [await queue.result(job, timeout=PATIENCE) for job in jobs] == [0, 1, 2]


async def test_a_reply_to_the_exchange_of_reports_counts_as_well(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    def on_request(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        reply = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish(raw.names.reports, "reports", body, reply)
        channel.basic_ack(delivery_tag=method.delivery_tag)

    job = await queue.enqueue("echo", 1)
    with RpcServer(broker_url, raw.names.job_queue("echo"), on_request):
        assert await queue.result(job, timeout=PATIENCE) == 1


async def test_a_server_that_sends_all_properties_back_is_told_to_send_one(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    def on_request(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_publish("", properties.reply_to, body, properties)
        channel.basic_ack(delivery_tag=method.delivery_tag)

    job = await queue.enqueue("echo", 1)
    with RpcServer(broker_url, raw.names.job_queue("echo"), on_request):
        status = await queue.wait(job, timeout=PATIENCE)
    assert status.error is not None
    assert status.error.code == "invalid_report"
    assert "no report of type 'echo'" in status.error.message
    assert "without a type it is finished" in status.error.message


async def test_a_text_that_is_declared_as_such_is_the_result(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    def on_request(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        text = json.loads(body)
        answer(channel, properties, text, content_type="text/plain", content_encoding="utf-8")
        channel.basic_ack(delivery_tag=method.delivery_tag)

    texts = ["naïve 日本", "42", '{"a": 1}', "null", ""]
    jobs = [await queue.enqueue("upper", text) for text in texts]
    with RpcServer(broker_url, raw.names.job_queue("upper"), on_request):
        assert [await queue.result(job, timeout=PATIENCE) for job in jobs] == texts


@pytest.mark.parametrize(
    ("body", "properties", "words"),
    [
        ("done", {}, ["no JSON", "content_type text/plain"]),
        ("{'a': 1}", {"content_type": "application/json"}, ["no JSON", "content_type text/plain"]),
        (
            b"\x1f\x8b\x08",
            {"content_encoding": "gzip"},
            ["UTF-8", "'gzip', and nothing is decoded"],
        ),
        (b"\x1f\x8b\x08", {"content_encoding": "GZIP", "content_type": "text/plain"}, ["'GZIP'"]),
    ],
)
async def test_a_reply_that_is_no_json_fails_the_job_and_says_the_way_out(
    raw: RawClient,
    queue: JobQueue,
    broker_url: str,
    body: str | bytes,
    properties: dict[str, Any],
    words: list[str],
) -> None:
    def on_request(channel: Any, method: Any, given: Any, _: bytes) -> None:
        answer(channel, given, body, **properties)
        channel.basic_ack(delivery_tag=method.delivery_tag)

    job = await queue.enqueue("talk", max_attempts=3)
    with RpcServer(broker_url, raw.names.job_queue("talk"), on_request) as server:
        status = await queue.wait(job, timeout=PATIENCE)
    assert (status.state, len(server.seen)) == (State.FAILED, 1)
    assert status.error is not None
    assert status.error.code == "invalid_report"
    assert [word for word in words if word not in status.error.message] == []


async def test_a_second_reply_changes_nothing(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    def on_request(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        answer(channel, properties, body)
        answer(channel, properties, "2")
        answer(channel, properties, "no JSON")
        channel.basic_ack(delivery_tag=method.delivery_tag)

    jobs = [await queue.enqueue("echo", 1) for _ in range(2)]
    with RpcServer(broker_url, raw.names.job_queue("echo"), on_request):
        assert [await queue.result(job, timeout=PATIENCE) for job in jobs] == [1, 1]
        after = await queue.enqueue("echo", 3)  # all replies before its own are read before it
        assert await queue.result(after, timeout=PATIENCE) == 3
    assert [await queue.result(job) for job in jobs] == [1, 1]
    assert (await queue.info()).parked == 0
