"""A cancel is answered once workers were told, whoever dies and whatever fails before that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Self

import pytest

from broker_queue.amqp.channel import Delivery
from broker_queue.client import JobQueue
from broker_queue.errors import Unavailable
from broker_queue.job import State
from scheduler import loop
from scheduler.broker.outbox import Outbox
from tests.support.ends import finish
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, until


class Control:
    """What a worker of one type hears on the control exchange."""

    def __init__(self) -> None:
        self.tokens: list[str | None] = []

    async def listen(self, raw: RawClient, job_type: str) -> Self:
        queue = await raw.channel.declaring.declare_queue(exclusive=True)
        await queue.bind(raw.names.control, job_type)
        await raw.channel.consume(queue.name, self._take, prefetch=0, no_ack=True)
        return self

    async def hears(self, token: str | None, times: int = 1) -> None:
        async def heard() -> bool:
            return self.tokens.count(token) >= times

        await until(heard)

    def _take(self, delivery: Delivery) -> None:
        self.tokens += json.loads(delivery.body)["tokens"]


class Deafness:
    """The broker takes nothing that workers are to be told, until it is told to."""

    def __init__(self) -> None:
        self.refused = 0
        self.is_over = False
        self.revoke = Outbox.revoke

    async def instead(self, outbox: Outbox, tokens: Iterable[tuple[str, str, str]]) -> None:
        if not self.is_over:
            self.refused += 1
            raise Unavailable("not now")
        await self.revoke(outbox, tokens)

    async def was_met(self, times: int) -> None:
        async def met() -> bool:
            return self.refused >= times

        await until(met)


@pytest.fixture
def deafness(monkeypatch: pytest.MonkeyPatch) -> Deafness:
    found = Deafness()
    monkeypatch.setattr(loop, "TELL_PAUSE", 0.05)
    monkeypatch.setattr(Outbox, "revoke", lambda *given: found.instead(*given))
    return found


@pytest.fixture
async def other_queue(
    scheduler: RunningScheduler, broker_url: str, namespace: str
) -> AsyncIterator[JobQueue]:
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as client:
        yield client


async def test_a_cancel_is_answered_only_once_workers_were_told_and_reports_count_meanwhile(
    raw: RawClient,
    queue: JobQueue,
    other_queue: JobQueue,
    deafness: Deafness,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = await queue.enqueue("a")
    await queue.enqueue("c")
    await finish(raw, "c")
    other = await queue.enqueue("b")
    await queue.enqueue("c", dependencies=[other])
    token = (await raw.take("a")).correlation_id
    other_token = (await raw.take("b")).correlation_id
    control = await Control().listen(raw, "a")
    cancelings = [asyncio.create_task(queue.cancel_job(job))]
    await deafness.was_met(3)
    cancelings.append(asyncio.create_task(other_queue.cancel_job(job)))
    assert (await raw.report("finished", other_token, b"1")).type == "accepted"

    async def is_released() -> bool:
        return await raw.count(raw.names.job_queue("c")) == 1

    await until(is_released)
    await deafness.was_met(deafness.refused + 3)
    assert not any(canceling.done() for canceling in cancelings)
    assert control.tokens == []
    deafness.is_over = True
    async with asyncio.timeout(PATIENCE):
        first, second = await asyncio.gather(*cancelings)
    assert (first.canceled, second.already_final) == (1, 1)
    await control.hears(token, 2)
    told = [record for record in caplog.records if "once workers can be told" in record.msg]
    assert [record.levelname for record in told].count("WARNING") == 1


async def test_a_scheduler_that_ends_before_workers_were_told_leaves_the_cancel_to_the_next(
    broker_url: str, namespace: str, database: Path, deafness: Deafness
) -> None:
    settings: dict[str, Any] = {"url": broker_url, "namespace": namespace, "database": database}
    first = RunningScheduler(**settings)
    await first.start()
    async with (
        RawClient(broker_url, namespace) as raw,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        job = await queue.enqueue("a")
        token = (await raw.take("a")).correlation_id
        control = await Control().listen(raw, "a")
        canceling = asyncio.create_task(queue.cancel_job(job))
        await deafness.was_met(1)
        await first.stop()
        assert not canceling.done()
        deafness.is_over = True
        async with RunningScheduler(**settings):
            answer = await asyncio.wait_for(canceling, PATIENCE)
            assert token in control.tokens
            assert (answer.canceled, answer.already_final) == (0, 1)
            assert (await queue.job_status(job)).state is State.CANCELED
