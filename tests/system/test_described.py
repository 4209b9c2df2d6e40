"""What passes between real programs is what the AsyncAPI document says, and all of it passes here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker_queue.amqp.channel import Delivery
from broker_queue.client import JobQueue
from broker_queue.errors import BrokerQueueError, Unavailable
from broker_queue.graph import Graph, new_job_id
from broker_queue.job import State
from broker_queue.protocol.job_headers import JobHeaders
from broker_queue.protocol.names import Names
from broker_queue.protocol.operations import REQUESTS
from broker_queue.protocol.reports import REPORTS
from broker_queue.running import Job
from broker_queue.worker import Worker
from scheduler import publishing
from scheduler.broker.outbox import JobMessage
from tests.support.capturing import Capture, Captured
from tests.support.described import Description, Exchange
from tests.support.proxy import Proxy
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, TIMEOUT_FACTOR, until
from tests.support.workers import running

SOON = 0.2
LEASE = 1.0 * TIMEOUT_FACTOR
TO_ONE_JOB = [kind for kind in REPORTS if kind != "batch"]
BODIES: dict[str, Any] = {
    "finished": {"any": "JSON"},
    "finished_with_jobs": {"result": 1, "jobs": [{"id": None, "args": [1]}]},
    "failed": {"code": "broken", "message": "on purpose", "details": {"why": 1}, "retry": False},
    "started": {"worker": "by hand"},
    "progress": {"fraction": 0.5, "message": "half", "data": [1]},
    "released": {"reason": "no time"},
    "lease": {"worker": "by hand"},
    "heartbeat": {},
}
ENDS = {"finished", "finished_with_jobs", "failed"}


def body_of(kind: str) -> Any:
    """Return a body of a report; jobs in it are new ones."""
    if kind == "finished_with_jobs":
        return {"result": 1, "jobs": [{"id": new_job_id(), "args": [1]}]}
    return BODIES[kind]


class Parties:
    """A scheduler, a client, and who speaks by hand, all behind one proxy that keeps what passes."""

    def __init__(self, proxy: Proxy, capture: Capture, queue: JobQueue, raw: RawClient) -> None:
        self.proxy = proxy
        self.capture = capture
        self.queue = queue
        self.raw = raw

    async def passes(self, wanted: str, **properties: Any) -> None:
        """Return once a message of this type has passed."""

        async def has_passed() -> bool:
            given = {"type": wanted} | properties
            return any(given.items() <= each.properties.items() for each in self.capture.messages)

        await until(has_passed)


@pytest.fixture
async def parties(
    broker_url: str, namespace: str, database: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Parties]:
    _lose_a_confirm(monkeypatch, "again")
    capture = Capture(Names(namespace).dead)
    async with (
        Proxy(broker_url, tap=capture.connection) as proxy,
        RunningScheduler(
            url=proxy.url,
            namespace=namespace,
            database=database,
            lease_after=SOON,
            lease_duration=LEASE,
        ),
        JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        RawClient(proxy.url, namespace) as raw,
    ):
        yield Parties(proxy, capture, queue, raw)


def _lose_a_confirm(monkeypatch: pytest.MonkeyPatch, job_type: str) -> None:
    """Have the scheduler publish one job twice, as after a confirm that did not come."""
    settle = publishing.Publishing._settle
    lost = []

    def settle_but_one(
        self: publishing.Publishing, job: JobMessage, error: BrokerQueueError | None
    ) -> None:
        if job.type == job_type and not lost:
            lost.append(job)
            error = Unavailable("lost on purpose")
        settle(self, job, error)

    monkeypatch.setattr(publishing.Publishing, "_settle", settle_but_one)
    monkeypatch.setattr(publishing, "PAUSE", 1)


async def test_all_that_passes_is_described_and_all_that_is_described_passes(
    parties: Parties, namespace: str
) -> None:
    await ask_everything(parties)
    await work(parties)
    await hand_out(parties)
    for channel in ("", "acme"):
        await report_everything(parties, channel)
    await report_on_nothing(parties)

    description = Description(Names(namespace))
    check(description, parties.capture.messages)


def check(description: Description, messages: list[Captured]) -> None:
    """Check that each message is right, or was refused, and that all messages were there."""
    seen = set()
    wrong = {}
    refused = set()
    for message in messages:
        if message.routing_key.endswith(".nowhere"):
            continue  # how the scheduler tries whether the broker takes messages
        found = description.find(message)
        assert found is not None, message
        seen.add(found)
        key = message.properties.get("correlation_id", "")
        problems = list(description.problems(message, found))
        if problems and found.operation.endswith("Request") and found.message != "errorAnswer":
            wrong[key] = problems
        else:
            assert problems == [], (found, message)
        if found.message == "errorAnswer" and json.loads(message.body)["code"] == "invalid":
            refused.add(key)
    assert wrong.keys() <= refused, "what the schemas refuse the scheduler took"
    assert description.exchanges - seen == set(), "was not seen"
    check_headers(messages)


def check_headers(messages: list[Captured]) -> None:
    """Check that jobs were seen with the fewest headers, and each header there can be."""
    required = {"protocol", "attempt", "max_attempts", "dependency_count"}
    of_jobs = [set(each.headers) for each in messages if each.exchange.endswith(".jobs")]
    assert required in of_jobs
    assert set().union(*of_jobs) == set(JobHeaders.__struct_fields__)


async def ask_everything(parties: Parties) -> None:
    """Have each request answered, and refused."""
    queue, raw = parties.queue, parties.raw
    graph = Graph(name="a graph")
    first = graph.add("asked", {"width": 800})
    second = graph.milestone([first], name="all")
    await queue.submit(graph)
    await queue.add_dependencies(second, [await queue.enqueue(None)])
    taken = await queue.dequeue("asked", timeout=PATIENCE)
    await queue.fail_job(taken, "no luck")
    await queue.job_status(second, args=True)
    await queue.wait([first, second], timeout=PATIENCE)
    await queue.explain(second)
    await queue.list()
    await queue.graph(graph.id)
    await queue.graphs()
    await queue.retry_graph(graph.id)
    await queue.cancel_graph(graph.id)
    await queue.workers()
    await queue.info()
    for operation in REQUESTS:
        answer = await raw.request(operation, {"colour": 1})
        assert (answer.type, answer.body["code"]) == ("error", "invalid")
    assert (await raw.request(None, {"type": "bare", "args": {"width": 800}})).type == "ok"
    assert (await raw.request(None, {"jobs": [{}], "graph": {}})).type == "ok"
    assert (await raw.request(None, {})).body["code"] == "invalid"
    answer = await raw.request("status", {"jobs": [new_job_id()]})
    assert answer.body["code"] == "not_exist"


async def work(parties: Parties) -> None:
    """Have a worker report in every way it can."""
    worker = Worker(concurrency=50)
    may_end = asyncio.Event()

    @worker.job()
    async def plain() -> int:
        return 1

    @worker.job()
    async def broken() -> None:
        raise LookupError("on purpose")

    @worker.job()
    async def growing(job: Job) -> None:
        job.add("plain")

    @worker.job()
    async def slow(job: Job) -> None:
        await job.progress(0.5, "half of it", data=[1])
        await may_end.wait()

    @worker.job()
    async def endless() -> None:
        await asyncio.Event().wait()

    queue = parties.queue
    async with running(worker, parties.proxy.url, parties.raw.names.namespace):
        jobs = [await queue.enqueue(kind) for kind in ("broken", "growing", "slow")]
        jobs += await asyncio.gather(*(queue.enqueue("plain") for _ in range(100)))
        canceled = await queue.enqueue("endless")
        await parties.passes("heartbeat")
        await until_running(queue, canceled)
        await queue.cancel_job(canceled)
        await parties.passes("cancel")
        await parties.passes("released")
        may_end.set()
        await queue.wait(jobs, timeout=PATIENCE)


async def until_running(queue: JobQueue, job: str) -> None:
    async def runs() -> bool:
        return (await queue.job_status(job)).state is State.RUNNING

    await until(runs)


async def hand_out(parties: Parties) -> None:
    """Have jobs handed out with all that a job may have; the broker gives up on one."""
    queue, raw = parties.queue, parties.raw
    parent = await queue.enqueue(None)
    graph = Graph(name="with everything")
    graph.add(
        "whole",
        dependencies=[parent],
        name="a name",
        channel="acme",
        priority=9,
        max_attempts=3,
        timeout=60.0,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    await queue.submit(graph)
    await (await raw.take("whole", "acme")).acknowledge()
    job = await queue.enqueue("again")
    copies = [await raw.take("again") for _ in range(2)]
    assert [each.headers.get("republished", False) for each in copies] == [False, True]
    for copy in copies:
        await copy.acknowledge()
    await queue.cancel_job(job)
    dead = await queue.enqueue("dead")
    await (await raw.take("dead")).reject()
    assert (await queue.wait(dead, timeout=PATIENCE)).state is State.FAILED


async def report_everything(parties: Parties, channel: str) -> None:
    """Send each report with each verdict as its answer, and as an answer to its job."""
    for kind in TO_ONE_JOB:
        delivery = await take(parties, channel)
        token = delivery.correlation_id
        assert await verdict(parties, kind, token) == "accepted"
        await verdict(parties, "finished", token)
        assert await verdict(parties, kind, token) == "stale"
        await delivery.acknowledge()

        delivery = await take(parties, channel)
        await parties.queue.cancel_job(delivery.message_id or "")
        assert await verdict(parties, kind, delivery.correlation_id) == "canceled"
        await delivery.acknowledge()

        assert await verdict(parties, kind, f"{new_job_id()}.1.1.forged") == "not_exist"
        await answer_job(parties, kind, channel)
    item = {"token": (await take(parties, channel)).correlation_id, "body": 1}
    await parties.raw.tell("batch", None, [item])
    await parties.passes("batch")


async def take(parties: Parties, channel: str) -> Delivery:
    await parties.queue.enqueue("by-hand", channel=channel)
    return await parties.raw.take("by-hand", channel)


async def verdict(parties: Parties, kind: str, token: str | None) -> str:
    return (await parties.raw.report(kind, token, body_of(kind))).type


async def answer_job(parties: Parties, kind: str, channel: str) -> None:
    """Answer a job as the simplest worker does: to its `reply_to`, through the default exchange."""
    delivery = await take(parties, channel)
    text = json.dumps(body_of(kind)).encode()
    reply_to, token = delivery.reply_to or "", delivery.correlation_id
    given = None if kind == "finished" else kind
    await parties.raw.publish("", reply_to, text, type=given, correlation_id=token)
    if kind not in ENDS:
        await parties.raw.publish("", reply_to, b"", correlation_id=token)
    await delivery.acknowledge()


async def report_on_nothing(parties: Parties) -> None:
    """Report on a job of another scheduler, and ask for no answer: that is parked."""
    await parties.raw.tell("finished", "forged", {"any": "JSON"})
    await parties.raw.parked()


async def test_what_is_missing_is_noticed(namespace: str) -> None:
    with pytest.raises(AssertionError, match="was not seen"):
        check(Description(Names(namespace)), [])


async def test_what_is_wrong_is_noticed(namespace: str) -> None:
    description = Description(Names(namespace))
    properties = {"type": "event", "delivery_mode": 1, "content_type": "application/json"}
    event = Captured(f"{namespace}.events", "a.running", properties, {}, b'{"state": "running"}')

    found = description.find(event)
    assert found == Exchange("sendEvent", "event")
    assert list(description.problems(event, found)) == ["payload: $: 'job' is a required property"]
    lost = event._replace(routing_key="a.lost")
    assert "state is not lost" in list(description.problems(lost, found))
    assert description.find(event._replace(exchange=f"{namespace}.jobs")) is not None
    assert description.find(event._replace(exchange="elsewhere")) is None
