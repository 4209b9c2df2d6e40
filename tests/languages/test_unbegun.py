"""Jobs that a worker has not begun, and copies of one that it has: lost connections, and its stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from broker_queue.amqp.channel import Delivery
from broker_queue.amqp.wiretap import Delivered, Event, Published, Settled
from broker_queue.conformance.proxy import Proxy
from broker_queue.protocol.messages import Welcome
from broker_queue.protocol.names import PROTOCOL_VERSION, Names
from broker_queue.protocol.reports import ReportAnswer
from broker_queue.protocol.topology import job_queue
from examples.languages.workers import LANGUAGES, Language
from tests.languages.fleet import COMMANDS
from tests.languages.worker_process import WorkerProcess
from tests.support.fake_scheduler import FakeScheduler
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE, until

LEVEL_3 = [language for language in LANGUAGES if language.name in {"go", "node", "java"}]

SECONDS = 3
"""Of a job that runs for longer than a worker waits before it says again what was not confirmed."""

FOREVER = 3600


@dataclass(kw_only=True)
class Play:
    """A worker, the way from it to the broker, and a scheduler that says what a test has it say."""

    command: list[str]
    job_type: str
    other_type: str
    names: Names
    fake: FakeScheduler
    raw: RawClient
    proxy: Proxy = field(init=False)
    hello_interval: float = FOREVER
    welcomes: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether a hello is answered."""
    hellos: int = 0
    delivered: list[str] = field(default_factory=list)
    """Tokens of messages on their way to the worker."""
    settled: list[str] = field(default_factory=list)
    """Tokens of messages that it acknowledged."""
    unconfirmed: str = ""
    """From its next report of this type on, what the broker says is kept from it."""

    def worker(self, concurrency: int = 1) -> WorkerProcess:
        return WorkerProcess(
            self.command, self.proxy.url, self.names.namespace, CONCURRENCY=str(concurrency)
        )

    async def hand_out(self, token: str, args: Any, job_type: str = "", **headers: Any) -> None:
        numbers = {"protocol": PROTOCOL_VERSION, "attempt": 1, "max_attempts": 1}
        await self.raw.publish(
            self.names.jobs,
            job_type or self.job_type,
            json.dumps(args).encode(),
            type=job_type or self.job_type,
            correlation_id=token,
            reply_to=self.names.reports,
            message_id=str(uuid4()),
            headers=numbers | {"dependency_count": 0} | headers,
        )

    async def report(self, *, but: str = "") -> tuple[str, str]:
        """Return the type and token of the next report, passing over those of type `but`."""
        async with asyncio.timeout(PATIENCE):
            while (report := await self.fake.reports.get()).type == but:
                pass
        return report.type or "", report.correlation_id or ""

    async def claim(self) -> Delivery:
        """Return the next report, which is a claim."""
        async with asyncio.timeout(PATIENCE):
            report = await self.fake.reports.get()
        assert report.type == "started"
        assert report.reply_to is not None
        return report

    async def answer(self, claim: Delivery, verdict: str) -> None:
        await self.fake.answer(claim, verdict, ReportAnswer())

    async def until(self, condition: Callable[[], bool]) -> None:
        async def holds() -> bool:
            return condition()

        await until(holds)

    def hear(self, _connection: int, event: Event) -> bool:
        if isinstance(event, Delivered):
            self.delivered.append(event.properties.correlation_id or "")
        elif isinstance(event, Settled) and event.how == "ack":
            self.settled.append(event.message.properties.correlation_id or "")
        elif isinstance(event, Published) and event.properties.type == self.unconfirmed:
            self.unconfirmed = ""
            self.proxy.hold_back(PATIENCE)
        return True

    async def welcome(self) -> None:
        """Answer each hello, once that is wanted."""
        queues = [self.names.job_queue(each) for each in (self.job_type, self.other_type)]
        while True:
            hello = await self.fake.requests.get()
            self.hellos += 1
            await self.welcomes.wait()
            if hello.reply_to is not None:
                body = Welcome(
                    queues=queues,
                    protocol=PROTOCOL_VERSION,
                    hello_interval=self.hello_interval,
                    lease_after=FOREVER,
                )
                await self.fake.answer(hello, "ok", body)


@pytest.fixture(params=LEVEL_3, ids=lambda each: each.name)
async def play(
    request: pytest.FixtureRequest, broker_url: str, namespace: str
) -> AsyncIterator[Play]:
    language: Language = request.param
    job_type, other_type, names = language.rehearsal, language.types[-1], Names(namespace)
    queues = [
        job_queue(names, each, queue_type="quorum", delivery_limit=20)
        for each in (job_type, other_type)
    ]
    async with (
        FakeScheduler(broker_url, namespace) as fake,
        RawClient(broker_url, namespace) as raw,
    ):
        play = Play(
            command=COMMANDS[language.name](),
            job_type=job_type,
            other_type=other_type,
            names=names,
            fake=fake,
            raw=raw,
        )
        broker = raw.channel.underlying
        for queue in queues:
            await broker.queue_declare(queue.name, durable=True, arguments=queue.arguments)
            await broker.queue_bind(queue.name, queue.exchange or "", queue.routing_key)
        play.welcomes.set()
        async with Proxy(broker_url, play.hear) as play.proxy, asyncio.TaskGroup() as tasks:
            welcoming = tasks.create_task(play.welcome())
            yield play
            welcoming.cancel()
        for queue in queues:
            await broker.queue_delete(queue.name)


async def test_what_was_given_back_is_not_given_back_over_the_next_connection(play: Play) -> None:
    play.unconfirmed = "released"
    async with play.worker():
        await play.hand_out("job", {"seconds": SECONDS}, republished=True)
        await play.answer(await play.claim(), "canceled")
        assert await play.report() == ("released", "job")
        play.proxy.cut()
        play.proxy.hold_back(0)  # no more
        await play.answer(await play.claim(), "accepted")  # its message has come again
        assert await play.report() == ("finished", "job")


async def test_a_claim_is_not_asked_over_the_next_connection(play: Play) -> None:
    async with play.worker():
        await play.hand_out("taken", {}, republished=True)
        await play.claim()
        play.welcomes.clear()
        play.proxy.cut()
        await play.until(lambda: play.hellos >= 2)
        queue = play.names.job_queue(play.job_type)
        await play.raw.until_ready(queue, 1)
        await play.raw.channel.underlying.basic_get(queue, no_ack=True)
        await play.hand_out("next", {"seconds": 1})
        play.welcomes.set()
        assert await play.report() == ("started", "next")
        assert await play.report() == ("finished", "next")


async def test_told_to_stop_it_gives_back_at_once_what_it_has_not_begun(play: Play) -> None:
    play.hello_interval = 0.25
    async with play.worker() as worker:
        await play.hand_out("claimed", {}, republished=True)
        await play.claim()
        await play.hand_out("waiting", {"text": "for a slot"}, play.other_type)
        await play.until(lambda: "waiting" in play.delivered)
        hellos = play.hellos
        await play.until(lambda: play.hellos >= hellos + 2)  # so it has heard of it
        worker.terminate()
        reports = [await play.report(but="started") for _ in range(2)]
        assert sorted(reports) == [("released", "claimed"), ("released", "waiting")]
        assert await worker.ended() == 0
    assert sorted(play.settled) == ["claimed", "waiting"]


async def test_of_two_copies_one_is_acknowledged_at_once(play: Play) -> None:
    async with play.worker(concurrency=2):
        await play.hand_out("long", {"seconds": FOREVER})
        assert await play.report() == ("started", "long")
        await play.hand_out("long", {"seconds": FOREVER}, republished=True)
        await play.until(lambda: play.settled == ["long"])
        await play.hand_out("short", {})
        assert await play.report(but="started") == ("finished", "short")
        await play.until(lambda: "short" in play.settled)
        play.proxy.cut()
        await play.until(lambda: play.delivered.count("long") == 3)
        body = json.dumps({"tokens": ["long"]}).encode()
        await play.raw.publish(play.names.control, play.job_type, body, type="cancel")
        assert await play.report(but="started") == ("released", "long")
        await play.until(lambda: play.settled.count("long") == 2)
