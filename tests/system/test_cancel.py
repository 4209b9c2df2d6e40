"""Cancel: in every state, with dependents, against everything that happens at the same time."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import NotExist
from broker_queue.graph import Graph
from broker_queue.job import State
from tests.support.ends import ended_job
from tests.support.raw import RawClient
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE


@pytest.mark.parametrize("state", [state for state in State if state.is_final])
async def test_cancel_changes_nothing_of_a_job_that_has_ended(
    queue: JobQueue, raw: RawClient, state: State
) -> None:
    job = await ended_job(queue, raw, state)
    before = await queue.job_status(job)
    answer = await queue.cancel_job(job, reason="too late")
    assert (answer.canceled, answer.already_final) == (0, 1)
    assert await queue.job_status(job) == before


async def test_cancel_reaches_waiting_scheduled_queued_and_running_jobs(
    queue: JobQueue, raw: RawClient
) -> None:
    running = await queue.enqueue("a")
    delivery = await raw.take("a")
    await raw.report("started", delivery.correlation_id, {})
    queued = await queue.enqueue("a")
    waiting = await queue.enqueue("a", dependencies=[running, queued])
    scheduled = await queue.enqueue("a", delay=60)
    jobs = {
        running: State.RUNNING,
        queued: State.QUEUED,
        waiting: State.WAITING,
        scheduled: State.SCHEDULED,
    }
    for job, state in reversed(jobs.items()):
        assert (await queue.job_status(job)).state is state
        answer = await queue.cancel_job(job, reason="enough")
        assert (answer.canceled, answer.running) == (1, state is State.RUNNING)
        status = await queue.job_status(job)
        assert (status.state, status.canceled, status.reason) == (State.CANCELED, True, "enough")
        assert status.finished is not None


async def test_what_depends_on_a_canceled_job_is_skipped_or_canceled_with_it(
    queue: JobQueue,
) -> None:
    for dependents, state in ((False, State.SKIPPED), (True, State.CANCELED)):
        graph = Graph()
        first = graph.add("a", delay=60)
        second = graph.add("a", dependencies=[first])
        third = graph.add("a", dependencies=[second])
        cleanup = graph.add("cleanup", dependencies=[third.ended, first.ended])
        await queue.submit(graph)
        answer = await queue.cancel_job(first, dependents=dependents)
        assert answer.canceled == (4 if dependents else 1)
        states = [item.state for item in await queue.job_statuses([second, third, cleanup])]
        assert states == [state, state, State.CANCELED if dependents else State.QUEUED]


async def test_a_graph_is_canceled_as_a_whole_and_twice_is_once(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    done = graph.milestone([])
    for _ in range(50):
        graph.add("a", dependencies=[graph.add("a").ended, done])
    outside = await queue.enqueue("a", delay=60)
    await queue.submit(graph)
    assert (await queue.cancel_graph(graph)).canceled == 100
    assert (await queue.cancel_graph(graph)).canceled == 0
    assert (await queue.job_status(done)).state is State.FINISHED
    assert (await queue.job_status(outside)).state is State.SCHEDULED


async def test_cancel_of_what_nobody_enqueued_changes_nothing(queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    with pytest.raises(NotExist):
        await queue.cancel_job(str(uuid4()))
    with pytest.raises(NotExist):
        await queue.cancel_graph(str(uuid4()))
    assert (await queue.job_status(job)).state is State.QUEUED


async def test_finish_against_cancel_ends_in_exactly_one_state(
    queue: JobQueue, raw: RawClient, broker_url: str, namespace: str
) -> None:
    jobs = [await queue.enqueue("a", i) for i in range(40)]
    deliveries = {}
    for _ in jobs:
        delivery = await raw.take("a")
        deliveries[delivery.message_id] = delivery
    after = [await queue.enqueue(None, dependencies=[job]) for job in jobs]
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as other:
        for job, dependent in zip(jobs, after, strict=True):
            report = raw.report("finished", deliveries[job].correlation_id, b"1")
            calls = [report, other.cancel_job(job)]
            if int(job[-1], 16) % 2:
                calls.reverse()
            answers = await asyncio.gather(*calls)
            status = await queue.job_status(job)
            follower = await queue.wait(dependent, timeout=PATIENCE)
            canceled = next(item.canceled for item in answers if hasattr(item, "canceled"))
            verdict = next(item.type for item in answers if hasattr(item, "type"))
            expected = {
                State.FINISHED: (0, "accepted", 1, State.FINISHED),
                State.CANCELED: (1, "canceled", None, State.SKIPPED),
            }
            found = (canceled, verdict, status.result, follower.state)
            assert found == expected[status.state]


async def test_a_canceled_job_whose_message_lies_in_its_queue_wants_no_worker(
    queue: JobQueue,
) -> None:
    job = await queue.enqueue("nobody")
    assert (await queue.cancel_job(job)).canceled == 1
    (line,) = (await queue.info()).queues
    assert (line.in_line, line.handed_out) == (0, 0)
