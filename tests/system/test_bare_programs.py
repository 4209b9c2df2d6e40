"""Programs that know nothing of jobs enqueue some: `amqp-publish`, the management page, `pika`."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pika
import pytest

from broker_queue.client import JobQueue
from broker_queue.job import State
from broker_queue.local_broker.node import PrivateNode
from tests.languages.toolchains import need
from tests.support.ends import finish
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler, SchedulerProcess
from tests.support.waiting import ANSWER_TIMEOUT, until

MANAGEMENT_TIMEOUT = 30.0


async def amqp_publish(url: str, *arguments: str) -> None:
    """Run Debian's `amqp-publish`."""
    need({"amqp-tools": "amqp-publish"})
    process = await asyncio.create_subprocess_exec("amqp-publish", f"--url={url}", *arguments)
    assert await process.wait() == 0


async def test_amqp_publish_enqueues_a_job(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    body = '{"type": "resize", "args": {"width": 100}}'
    await amqp_publish(broker_url, "-r", raw.names.requests, "-b", body)
    delivery = await raw.take("resize")
    assert json.loads(delivery.body) == {"width": 100}
    assert UUID(delivery.message_id).version == 7  # it gives none
    exchange = ["-e", raw.names.requests, "-r", "requests", "-p", "-C", "application/json"]
    await amqp_publish(broker_url, *exchange, "-b", body)
    assert await finish(raw, "resize") != delivery.message_id


async def test_amqp_publish_enqueues_a_graph(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    body = '{"jobs": [{"type": "fetch"}, {"type": "resize", "dependencies": [0]}]}'
    await amqp_publish(broker_url, "-r", raw.names.requests, "-b", body)
    first = await finish(raw, "fetch")
    second = await finish(raw, "resize")
    status = (await queue.job_status(second)).dependencies
    assert [each.job for each in status or ()] == [first]


async def test_what_amqp_publish_has_wrong_is_parked(
    raw: RawClient, queue: JobQueue, broker_url: str
) -> None:
    await amqp_publish(broker_url, "-r", raw.names.requests, "-b", '{"width": 100}')
    reason = (await raw.parked()).headers["reason"]
    assert reason.startswith("the body: object contains unknown field width; a request without")


async def test_the_management_page_enqueues_a_job(
    server: Path, namespace: str, database: Path, tmp_path: Path
) -> None:
    with PrivateNode(tmp_path / "node", management=True) as node:
        async with (
            RunningScheduler(url=node.url, namespace=namespace, database=database),
            RawClient(node.url, namespace) as raw,
            JobQueue(node.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        ):
            message_id = str(uuid4())
            body = {"type": "resize", "args": {"width": 100}}
            for properties in ({}, {"message_id": message_id}, {"message_id": message_id}):
                await publish_on_page(node, "amq.default", raw.names.requests, body, properties)
            taken = [await raw.take("resize") for _ in range(2)]
            assert [json.loads(each.body) for each in taken] == [{"width": 100}] * 2
            assert message_id in {each.message_id for each in taken}
            await publish_on_page(node, raw.names.requests, "requests", {"jobs": [{}]}, {})

            async def are_all_there() -> bool:
                return len((await queue.list()).jobs) == 3

            await until(are_all_there)
            states = sorted(status.state for status in (await queue.list()).jobs)
            assert states == [State.FINISHED, State.QUEUED, State.QUEUED]  # one a milestone


async def publish_on_page(
    node: PrivateNode, exchange: str, key: str, body: Any, properties: dict[str, str]
) -> None:
    """Press the button "Publish message": the page itself calls this."""
    asked = {
        "properties": properties,
        "routing_key": key,
        "payload": json.dumps(body),
        "payload_encoding": "string",
    }
    request = urllib.request.Request(
        f"{node.management_url}api/exchanges/%2F/{exchange}/publish",
        json.dumps(asked).encode(),
        {"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode()},
    )

    def send() -> bytes:
        with urllib.request.urlopen(request, timeout=MANAGEMENT_TIMEOUT) as answer:
            return bytes(answer.read())

    async def is_published() -> bool:
        try:
            return json.loads(await asyncio.to_thread(send)) == {"routed": True}
        except OSError:  # the page comes up a little after the node
            return False

    await until(is_published)


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "nameless"])
async def test_a_message_that_comes_again_counts_once_if_it_has_an_id(
    broker_url: str, namespace: str, database: Path, *, is_named: bool
) -> None:
    """The scheduler dies after it has stored the job, and before it acknowledges the message."""
    given = {"url": broker_url, "namespace": namespace, "database": database}
    async with RunningScheduler(**given):
        pass  # its queues are there
    message_id = str(uuid4()) if is_named else None
    connection = pika.BlockingConnection(pika.URLParameters(broker_url))
    channel = connection.channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(message_id=message_id)  # which this library makes for nobody
    channel.basic_publish("", f"{namespace}.requests", b'{"type": "resize"}', properties)
    connection.close()
    dying = SchedulerProcess(**given, failpoint="before_ack")
    await dying.start(wait=False)
    code, _ = await dying.ended()
    assert code < 0
    async with (
        RunningScheduler(**given),
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        job = await queue.enqueue("last")  # after the message that came again
        jobs = {status.id for status in (await queue.list()).jobs} - {job}
    assert len(jobs) == (1 if is_named else 2)
    assert not is_named or jobs == {message_id}
