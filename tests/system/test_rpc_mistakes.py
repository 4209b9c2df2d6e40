"""What servers in the shape of the RPC tutorial do wrong: no job is lost, and somebody is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pika
import pytest

from broker_queue.client import JobQueue
from broker_queue.job import State
from tests.support.raw import RawClient
from tests.support.rpc_servers import RpcServer, answer
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import PATIENCE, until

LOST_AFTER = 1.0


@pytest.fixture
async def scheduler(
    broker_url: str, namespace: str, database: Path
) -> AsyncIterator[RunningScheduler]:
    """A scheduler that waits a second for word of a job."""
    async with RunningScheduler(
        url=broker_url, namespace=namespace, database=database, lost_after=LOST_AFTER
    ) as started:
        yield started


def right(channel: Any, properties: Any, body: bytes) -> None:
    answer(channel, properties, body)


def silent(_channel: Any, _properties: Any, _body: bytes) -> None:
    pass


def without_correlation_id(channel: Any, properties: Any, body: bytes) -> None:
    answer(channel, properties, body, correlation_id=None)


def with_an_id_of_its_own(channel: Any, properties: Any, body: bytes) -> None:
    answer(channel, properties, body, correlation_id=properties.message_id)


def to_an_exchange_without_a_route(channel: Any, properties: Any, body: bytes) -> None:
    reply = pika.BasicProperties(correlation_id=properties.correlation_id)
    channel.basic_publish(properties.reply_to, properties.reply_to, body, reply)


def to_the_queue_of_requests(channel: Any, properties: Any, body: bytes) -> None:
    requests = properties.reply_to.replace("reports", "requests")
    reply = pika.BasicProperties(correlation_id=properties.correlation_id, type="finished")
    channel.basic_publish("", requests, body, reply)


def first(mistake: Callable[[Any, Any, bytes], None]) -> Callable[[Any, Any, Any, bytes], None]:
    """Return a callback that replies to the first message so, and to others as it should."""
    replies = iter((mistake,))

    def on_request(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        next(replies, right)(channel, properties, body)
        channel.basic_ack(delivery_tag=method.delivery_tag)

    return on_request


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        (silent, None),
        (to_an_exchange_without_a_route, None),
        (without_correlation_id, "no correlation_id"),
        (with_an_id_of_its_own, "not a token of ours"),
        (to_the_queue_of_requests, "this is a report, which goes to the address in reply_to"),
    ],
)
async def test_a_job_whose_reply_does_not_arrive_is_handed_out_anew(
    raw: RawClient,
    queue: JobQueue,
    broker_url: str,
    mistake: Callable[[Any, Any, bytes], None],
    reason: str | None,
) -> None:
    job = await queue.enqueue("echo", 1)
    with RpcServer(broker_url, raw.names.job_queue("echo"), first(mistake)) as server:
        status = await queue.wait(job, timeout=PATIENCE)
    assert (status.state, status.result, status.attempt) == (State.FINISHED, 1, 1)
    assert server.seen == [b"1", b"1"]
    assert (await queue.info()).parked == (0 if reason is None else 1)
    if reason is not None:
        assert reason in (await raw.parked()).headers["reason"]


async def test_a_server_that_never_replies_rightly_fails_its_jobs(
    broker_url: str, namespace: str, database: Path
) -> None:
    def on_request(channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        without_correlation_id(channel, properties, body)

    async with (
        RunningScheduler(
            url=broker_url,
            namespace=namespace,
            database=database,
            lost_after=LOST_AFTER,
            delivery_limit=2,
        ),
        JobQueue(broker_url, namespace=namespace) as queue,
    ):
        job = await queue.enqueue("echo", 1)
        name = f"{namespace}.jobs.echo"
        with RpcServer(broker_url, name, on_request, auto_ack=True):
            status = await queue.wait(job, timeout=PATIENCE)
        assert status.reason == "its messages or its workers were lost 2 times (worker_died)"
        assert (await queue.info()).parked == 2


async def test_explain_names_a_lost_reply_among_what_may_have_happened(
    broker_url: str, namespace: str, database: Path
) -> None:
    async with (
        RunningScheduler(url=broker_url, namespace=namespace, database=database),
        JobQueue(broker_url, namespace=namespace) as queue,
    ):
        job = await queue.enqueue("echo", 1)
        with RpcServer(broker_url, f"{namespace}.jobs.echo", first(without_correlation_id)):

            async def is_parked() -> bool:
                return (await queue.info()).parked == 1

            await until(is_parked)
            summary = (await queue.explain(job)).summary
    assert "a worker has it and has not reported yet" in summary
    assert "1 messages are parked, perhaps its report among them" in summary


async def test_messages_that_a_server_took_all_at_once_and_forgot_are_found(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    """With automatic acknowledgement nothing limits how many it is sent."""
    jobs = [await queue.enqueue("echo", n) for n in range(20)]

    def on_request(*_: Any) -> None:
        pass

    name = raw.names.job_queue("echo")
    with RpcServer(broker_url, name, on_request, auto_ack=True) as dying:

        async def has_all() -> bool:
            return len(dying.seen) == 20

        await until(has_all)
    with RpcServer(broker_url, name, first(right)):
        assert [await queue.result(job, timeout=PATIENCE) for job in jobs] == list(range(20))
