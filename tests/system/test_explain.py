"""Explain: a reason for every state, down to the root cause; events in order."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import NotExist
from broker_queue.graph import Graph, new_job_id
from broker_queue.job import State
from broker_queue.status import JobEvent
from tests.support.ends import ended_job, fail, finish
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.FINISHED, ["finished"]),
        (State.FAILED, ["failed", "broken", "on purpose"]),
        (State.CANCELED, ["was canceled", "on purpose"]),
        (State.SKIPPED, ["was skipped", "root cause", "broken"]),
    ],
)
async def test_a_job_that_ended_says_how(
    queue: JobQueue, raw: RawClient, state: State, words: list[str]
) -> None:
    job = await ended_job(queue, raw, state)
    explanation = await queue.explain(job)
    assert (explanation.job, explanation.state) == (job, state)
    assert all(word in explanation.summary for word in words)


async def test_a_queued_job_says_whether_a_worker_would_take_it(
    queue: JobQueue, raw: RawClient
) -> None:
    job = await queue.enqueue("lonely")
    delivery = await raw.take("lonely")
    await delivery.requeue()
    explanation = await queue.explain(job)
    assert explanation.reasons[0].kind == "no_worker"
    assert "no worker consumes" in explanation.summary
    channel = await raw.channel.session.open_channel()
    other = await queue.enqueue("a")
    await raw.request("hello", {"worker": "raw", "types": ["a"]})
    await channel.consume(raw.names.job_queue("a"), lambda _: None, prefetch=1)
    explanation = await queue.explain(other)
    assert explanation.reasons[0].kind == "in_queue"
    assert "1 consumer" in explanation.summary


async def test_running_and_scheduled_jobs_say_where_and_until_when(
    queue: JobQueue, raw: RawClient
) -> None:
    job = await queue.enqueue("a", name="mine", max_attempts=2, backoff=timedelta(minutes=2))
    delivery = await raw.take("a")
    await raw.report("started", delivery.correlation_id, {"worker": "w-1"})
    summary = (await queue.explain(job)).summary
    assert all(word in summary for word in ("(mine)", "runs on worker w-1 for"))
    await raw.report("failed", delivery.correlation_id, {"code": "E7", "message": "no"})
    summary = (await queue.explain(job)).summary
    assert all(word in summary for word in ("attempt 1 of 2", "E7: no", "min"))
    delayed = await queue.enqueue("a", delay=7_200)
    assert "is delayed; it becomes ready in 2.0 h" in (await queue.explain(delayed)).summary


async def test_a_waiting_job_names_what_it_waits_for_step_by_step(queue: JobQueue) -> None:
    root = await queue.enqueue("root", delay=60)
    middle = await queue.enqueue("middle", dependencies=[root], name="the middle")
    others = [await queue.enqueue("other", delay=60) for _ in range(10)]
    job = await queue.enqueue("a", dependencies=[middle, *others])
    explanation = await queue.explain(job)
    assert "waits for 11 dependencies; root cause: root" in explanation.summary
    texts = [reason.text for reason in explanation.reasons]
    assert "and for 6 more" in texts
    assert f"waits for job {middle} (the middle) to finish; it is waiting" in texts
    assert f"waits for job {others[0]} to finish; it is scheduled" in texts
    assert [reason.job for reason in explanation.reasons if reason.kind != "dependency"] == [
        job,
        middle,
        root,
    ]


async def test_a_skipped_job_names_the_root_cause_at_the_end_of_a_chain(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    root = tail = graph.add("bad")
    for _ in range(20):
        tail = graph.add("next", dependencies=[tail])
    await queue.submit(graph)
    await fail(raw, "bad")
    explanation = await queue.explain(tail)
    assert f"root cause: bad {root.id} failed: broken: on purpose" in explanation.summary
    assert explanation.reasons[-1].job == root.id
    with pytest.raises(NotExist):
        await queue.explain(new_job_id())


async def test_every_change_of_a_small_graph_is_seen_in_order(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    first = graph.add("first", max_attempts=2)
    second = graph.milestone([first])
    third = graph.add("third", dependencies=[second])
    skipped = graph.add("never", dependencies=[first.failed])
    await queue.submit(graph)
    seen: dict[str, list[tuple[State, int]]] = {}
    begun = asyncio.Event()

    async def watch() -> list[JobEvent]:
        events = []
        async for event in queue.watch(graph=graph):
            events.append(event)
            seen.setdefault(event.job, []).append((event.state, event.attempt))
            if len(seen) == 4:
                begun.set()
        return events

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        delivery = await raw.take("first")
        await raw.report("started", delivery.correlation_id, {})
        await raw.report("failed", delivery.correlation_id, {"delay": 0.01})
        await delivery.acknowledge()
        await finish(raw, "first")
        await finish(raw, "third")
        events = await watching
    assert seen == {
        first.id: [
            (State.QUEUED, 1),
            (State.RUNNING, 1),
            (State.SCHEDULED, 1),
            (State.QUEUED, 2),
            (State.FINISHED, 2),
        ],
        second.id: [(State.WAITING, 0), (State.FINISHED, 0)],
        third.id: [(State.WAITING, 0), (State.QUEUED, 1), (State.FINISHED, 1)],
        skipped.id: [(State.WAITING, 0), (State.SKIPPED, 0)],
    }
    moments = [event.at for event in events[4:]]
    assert moments == sorted(moments)


async def test_a_way_that_is_too_long_to_show_still_ends_at_the_root_cause(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    root = graph.add("bad")
    tails = [graph.add("next", dependencies=[root]), graph.milestone([root.ended])]
    for _ in range(300):
        tails[0] = graph.milestone([tails[0]])
    hold = graph.add("hold", delay=60)
    waits = graph.add("next", dependencies=[hold])
    for _ in range(300):
        waits = graph.milestone([waits])
    await queue.submit(graph)
    await fail(raw, "bad")
    explanation = await queue.explain(tails[0])
    assert f"root cause: bad {root.id} failed" in explanation.summary
    assert len(explanation.reasons) == 50
    explanation = await queue.explain(waits)
    assert f"root cause: hold {hold.id} is delayed" in explanation.summary


async def test_a_way_that_ends_at_a_canceled_job_does_not_go_on_to_what_that_waited_for(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    slow = graph.add("slow")
    canceled = graph.add("canceled", dependencies=[slow])
    last = canceled
    for _ in range(100):
        last = graph.add("next", dependencies=[last])
    await queue.submit(graph)
    await queue.cancel_job(canceled)
    summary = (await queue.explain(last)).summary
    assert summary.endswith(f"root cause: canceled {canceled.id} was canceled")


async def test_a_job_canceled_without_a_reason_does_not_name_the_error_of_an_earlier_attempt(
    queue: JobQueue, raw: RawClient
) -> None:
    job = await queue.enqueue("a", max_attempts=2, backoff=timedelta(seconds=60))
    await fail(raw, "a", retry=True)
    await queue.cancel_job(job)
    assert (await queue.explain(job)).summary.endswith("was canceled")
    status = await queue.job_status(job)
    assert (status.error, status.reason) == (None, "without a reason given")


async def test_a_job_for_failures_says_that_there_was_none(queue: JobQueue, raw: RawClient) -> None:
    graph = Graph()
    good = graph.add("good")
    never = graph.add("never", dependencies=[good.failed])
    await queue.submit(graph)
    await finish(raw, "good")
    summary = (await queue.explain(never)).summary
    assert f"good {good.id} finished, but never {never.id} wanted it to fail" in summary


async def test_jobs_that_a_running_job_adds_are_watched_from_the_beginning(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    first = graph.add("first")
    await queue.submit(graph)
    added = new_job_id()
    seen: list[tuple[str, State]] = []
    begun = asyncio.Event()

    async def watch() -> None:
        async for event in queue.watch(graph=graph):
            seen.append((event.job, event.state))
            begun.set()

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        delivery = await raw.take("first")
        report = {"result": 1, "jobs": [{"id": added, "type": "second"}]}
        await raw.report("finished_with_jobs", delivery.correlation_id, report)
        await finish(raw, "second")
        await watching
    assert [state for job, state in seen if job == first.id] == [State.QUEUED, State.FINISHED]
    assert [state for job, state in seen if job == added] == [State.QUEUED, State.FINISHED]
