"""Opposing messages that a scheduler finds together when it starts: one of them counts, wholly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from broker_queue.client import JobQueue
from broker_queue.graph import Graph
from broker_queue.job import JobId, State
from tests.support.ends import fail
from tests.support.raw import Answered, RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, until

Start = Callable[[], AbstractAsyncContextManager[RunningScheduler]]

ORDERS = pytest.mark.parametrize("is_first", [True, False], ids=["first", "second"])


@pytest.fixture
def start(broker_url: str, namespace: str, database: Path) -> Start:
    """Start a scheduler, as often as it is wanted."""
    return lambda: RunningScheduler(url=broker_url, namespace=namespace, database=database)


@pytest.fixture
async def raw(start: Start, broker_url: str, namespace: str) -> AsyncIterator[RawClient]:
    """A client of which the scheduler has made the queues, and stopped."""
    async with start():
        pass
    async with RawClient(broker_url, namespace) as client:
        yield client


@pytest.fixture
async def queue(raw: RawClient, broker_url: str, namespace: str) -> AsyncIterator[JobQueue]:
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as client:
        yield client


async def send(
    raw: RawClient, *calls: Coroutine[Any, Any, Answered]
) -> list[asyncio.Task[Answered]]:
    """Send requests and reports, in this order, and return their answers to come."""
    sent = []
    for number, call in enumerate(calls, start=1):
        sent.append(asyncio.create_task(call))

        async def is_there(number: int = number) -> bool:
            queues = (raw.names.requests, raw.names.reports)
            return sum([await raw.count(queue) for queue in queues]) == number

        await until(is_there)
    return sent


def ordered(is_first: bool, *calls: Awaitable[Any]) -> list[Any]:
    return list(calls) if is_first else list(reversed(calls))


@ORDERS
async def test_finish_and_cancel(
    start: Start, raw: RawClient, queue: JobQueue, is_first: bool
) -> None:
    async with start():
        job = await queue.enqueue("a")
        after = await queue.enqueue(None, dependencies=[job])
        token = (await raw.take("a")).correlation_id
    finishing, canceling = raw.report("finished", token, b"1"), cancel(raw, job)
    sent = await send(raw, *ordered(is_first, finishing, canceling))
    async with start():
        finished, canceled = ordered(is_first, *[await answer for answer in sent])
        statuses = await queue.job_statuses([job, after])
    found = (finished.type, canceled.body["canceled"], *(item.state for item in statuses))
    assert found in {
        ("accepted", 0, State.FINISHED, State.FINISHED),
        ("canceled", 1, State.CANCELED, State.SKIPPED),
    }
    assert statuses[0].result == (1 if finished.type == "accepted" else None)


@ORDERS
async def test_retry_and_cancel_of_a_graph(
    start: Start, raw: RawClient, queue: JobQueue, is_first: bool
) -> None:
    graph = Graph()
    bad = graph.add("a")
    async with start():
        await queue.submit(graph)
        await fail(raw, "a")
    retrying = raw.request("retry", {"graph": graph.id})
    canceling = raw.request("cancel", {"graph": graph.id})
    sent = await send(raw, *ordered(is_first, retrying, canceling))
    async with start():
        retried, canceled = ordered(is_first, *[await answer for answer in sent])
        (copied,) = retried.body["jobs"]
        states = [item.state for item in await queue.job_statuses([bad, copied["retried_as"]])]
    assert copied["job"] == bad.id
    assert canceled.body["canceled"] == is_first
    assert states == [State.FAILED, State.CANCELED if is_first else State.QUEUED]


@ORDERS
async def test_finish_and_an_extension_that_waits_for_it(
    start: Start, raw: RawClient, queue: JobQueue, is_first: bool
) -> None:
    async with start():
        job = await queue.enqueue("a")
        late = await queue.enqueue("b", delay=60)
        token = (await raw.take("a")).correlation_id
    finishing, extending = raw.report("finished", token, b"1"), extend(raw, late, job)
    sent = await send(raw, *ordered(is_first, finishing, extending))
    async with start():
        finished, extended = ordered(is_first, *[await answer for answer in sent])
        status = await queue.job_status(late)
    assert (finished.type, extended.type) == ("accepted", "ok")
    assert (status.state, status.dependency_count) == (State.SCHEDULED, 1)


@ORDERS
async def test_finish_and_an_extension_of_the_job_itself(
    start: Start, raw: RawClient, queue: JobQueue, is_first: bool
) -> None:
    async with start():
        job = await queue.enqueue("a")
        other = await queue.enqueue("b")
        token = (await raw.take("a")).correlation_id
    finishing, extending = raw.report("finished", token, b"1"), extend(raw, job, other)
    sent = await send(raw, *ordered(is_first, finishing, extending))
    async with start():
        finished, extended = ordered(is_first, *[await answer for answer in sent])
        status = await queue.job_status(job)
    assert (finished.type, extended.body["code"]) == ("accepted", "conflict")
    assert (status.state, status.dependency_count) == (State.FINISHED, 0)


async def cancel(raw: RawClient, job: JobId) -> Answered:
    return await raw.request("cancel", {"jobs": [job]})


async def extend(raw: RawClient, job: JobId, parent: JobId) -> Answered:
    return await raw.request("add_dependencies", {"job": job, "dependencies": [parent]})
