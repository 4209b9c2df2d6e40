"""What a later scheduler says more is passed over; what nobody asked it to read, it refuses."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import Invalid, NotExist
from broker_queue.graph import Graph, new_job_id
from broker_queue.job import State
from broker_queue.protocol import messages, reports
from broker_queue.protocol.codec import decode
from broker_queue.running import Job
from broker_queue.worker import Worker
from scheduler.broker import outbox
from tests.support.schedulers import RunningScheduler
from tests.support.schemas import with_parts
from tests.support.waiting import PATIENCE, until
from tests.support.workers import running

READ_BY_THE_SCHEDULER = [
    *(operation.request for operation in messages.REQUESTS.values()),
    *(model for model in reports.REPORTS.values() if model is not msgspec.Raw),
]
READ_BY_OTHERS = [
    *(operation.answer for operation in messages.REQUESTS.values()),
    messages.Error,
    messages.JobEvent,
    messages.CancelControl,
    reports.ReportAnswer,
]
OPAQUE = {"args", "result", "details", "data"}


def is_strict(model: type[Any]) -> bool:
    return bool(model.__struct_config__.forbid_unknown_fields)


def test_what_the_scheduler_reads_has_no_unknown_fields() -> None:
    assert [model for model in with_parts(READ_BY_THE_SCHEDULER) if not is_strict(model)] == []


def test_what_others_read_may_have_unknown_fields() -> None:
    assert [model for model in with_parts(READ_BY_OTHERS) if is_strict(model)] == []


@pytest.mark.parametrize("kind", ["failed", "started", "progress", "released", "lease"])
def test_a_report_with_an_unknown_field_is_refused_by_its_name(kind: str) -> None:
    with pytest.raises(Invalid, match="unknown field colour"):
        decode(b'{"colour": 1}', reports.REPORTS[kind])


def with_more(value: Any) -> Any:
    """Return a body with a field more in each of its objects."""
    if isinstance(value, list):
        return [with_more(item) for item in value]
    if not isinstance(value, dict) or set(value) <= set(State):  # how many jobs are in which state
        return value
    known = {k: v if k in OPAQUE else with_more(v) for k, v in value.items()}
    return known | {"colour": {"of": "tomorrow"}}


@pytest.fixture
def _later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the scheduler say more than this version knows of."""

    def encode(body: messages.Message) -> bytes:
        return json.dumps(with_more(json.loads(messages.encode(body)))).encode()

    monkeypatch.setattr(outbox, "encode", encode)


@pytest.fixture
async def scheduler(_later: None, scheduler: RunningScheduler) -> RunningScheduler:
    return scheduler


async def test_a_client_understands_all_answers_of_a_later_scheduler(queue: JobQueue) -> None:
    graph = Graph(name="a graph")
    first = graph.add("a")
    second = graph.add("b", dependencies=[first])
    await queue.submit(graph)
    taken = await queue.dequeue("a", timeout=PATIENCE)
    await queue.fail_job(taken, "no luck")

    assert (await queue.job_status(first)).state is State.FAILED
    assert (await queue.explain(second)).reasons
    assert [job.id for job in (await queue.list()).jobs] == [second.id, first.id]
    assert (await queue.graph(graph.id)).name == "a graph"
    assert len((await queue.graphs()).graphs) == 1
    assert (await queue.info()).queues
    assert len(await queue.workers()) == 1
    assert await queue.retry(first)
    assert (await queue.cancel_graph(graph)).canceled == 2
    with pytest.raises(NotExist):
        await queue.job_status(new_job_id())


async def test_a_watch_understands_all_events_of_a_later_scheduler(queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    seen = []
    async with asyncio.timeout(PATIENCE):
        async for event in queue.watch(job):
            seen.append(event.state)
            if event.state is State.QUEUED:
                await queue.fail_job(await queue.dequeue("a", timeout=PATIENCE), "no luck")

    assert seen[-1] is State.FAILED


async def test_a_worker_understands_answers_and_control_messages_of_a_later_scheduler(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()
    begun, ended = asyncio.Event(), asyncio.Event()

    @worker.job(claim=True)
    async def endless(job: Job) -> None:
        await job.progress(0.5)
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(worker, broker_url, namespace), asyncio.timeout(PATIENCE):
        job = await queue.enqueue("endless")
        await begun.wait()

        async def is_told() -> bool:
            return (await queue.job_status(job)).progress is not None

        await until(is_told)
        await queue.cancel_job(job)
        await ended.wait()
