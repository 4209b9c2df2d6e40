"""Retry by hand: copies of what failed and of what it held back."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import Conflict, NotExist
from broker_queue.graph import Graph
from broker_queue.job import State
from tests.support.ends import ended_job, fail, finish
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE


async def test_only_the_failed_part_is_copied_and_linked_both_ways(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    good = graph.add("good")
    bad = graph.add("bad", {"x": good.result}, priority=7, max_attempts=1, name="the bad one")
    after = graph.add("after", {"y": bad.result, "g": good.result})
    last = graph.milestone([after])
    cleanup = graph.add("cleanup", dependencies=[bad.failed])
    await queue.submit(graph)
    await finish(raw, "good", b"1")
    await fail(raw, "bad")
    copies = await queue.retry(bad)
    assert copies.keys() == {bad.id, after.id, last.id}
    assert await queue.retry(bad) == copies
    for original, copy in copies.items():
        before, now = await queue.job_statuses([original, copy])
        assert (before.retried_as, now.retry_of) == (copy, original)
        assert before.is_final
        assert (now.type, now.graph, now.priority, now.name) == (
            before.type,
            graph.id,
            before.priority,
            before.name,
        )
    listed = (await queue.job_status(copies[after.id])).dependencies
    assert {item.job for item in listed} == {copies[bad.id], good.id}
    delivery = await raw.take("bad")
    assert (delivery.message_id, json.loads(delivery.body)) == (copies[bad.id], {"x": 1})
    await raw.report("finished", delivery.correlation_id, b"2")
    delivery = await raw.take("after")
    assert json.loads(delivery.body) == {"y": 2, "g": 1}
    await raw.report("finished", delivery.correlation_id, b"3")
    assert (await queue.wait(copies[last.id], timeout=PATIENCE)).state is State.FINISHED
    assert (await queue.job_status(last)).state is State.SKIPPED
    assert await finish(raw, "cleanup") == cleanup.id


async def test_a_copy_may_depend_on_the_copy_of_a_later_job(
    queue: JobQueue, raw: RawClient
) -> None:
    gate = await queue.enqueue("gate")
    early = await queue.enqueue("early", dependencies=[gate])
    late = await queue.enqueue("late", max_attempts=1)
    await queue.add_dependencies(early, [late])
    await fail(raw, "late")
    copies = await queue.retry(late)
    assert copies.keys() == {early, late}
    listed = (await queue.job_status(copies[early])).dependencies
    assert [item.job for item in listed] == [gate, copies[late]]
    await finish(raw, "gate")
    await finish(raw, "late")
    assert await finish(raw, "early") == copies[early]


async def test_copies_of_a_retry_never_wait_for_each_other(queue: JobQueue, raw: RawClient) -> None:
    bad = await queue.enqueue("bad")
    held = await queue.enqueue("held", dependencies=[bad])
    await fail(raw, "bad")
    first = await queue.retry(bad)
    late = await queue.enqueue("late", dependencies=[held])
    await queue.add_dependencies(first[held], [late])
    second = await queue.retry(bad)
    assert second.keys() == {bad, held, first[held], late}
    await finish(raw, "bad")
    states = [(await queue.job_status(second[job])).state for job in (first[held], late)]
    assert State.WAITING not in states


async def test_only_failed_and_canceled_jobs_can_be_retried(
    queue: JobQueue, raw: RawClient
) -> None:
    for state in (State.FAILED, State.CANCELED):
        job = await ended_job(queue, raw, state)
        copy = (await queue.retry(job))[job]
        assert (await queue.job_status(copy)).state is State.QUEUED
    finished = await ended_job(queue, raw, State.FINISHED)
    with pytest.raises(Conflict, match="is finished"):
        await queue.retry(finished)
    with pytest.raises(Conflict, match="is queued"):
        await queue.retry(await queue.enqueue("a"))
    with pytest.raises(NotExist):
        await queue.retry(str(uuid4()))


async def test_a_skipped_job_names_the_root_that_is_to_be_retried(
    queue: JobQueue, raw: RawClient
) -> None:
    root = await ended_job(queue, raw, State.FAILED)
    middle = await queue.enqueue(None, dependencies=[root])
    last = await queue.enqueue(None, dependencies=[middle])
    with pytest.raises(Conflict, match=root) as caught:
        await queue.retry(last)
    assert caught.value.details == {"job": last, "state": "skipped", "because": root}


async def test_a_copy_that_fails_again_can_be_retried_again(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    bad = graph.add("bad")
    after = graph.add("after", dependencies=[bad])
    await queue.submit(graph)
    await fail(raw, "bad")
    first = await queue.retry_graph(graph)
    await fail(raw, "bad")
    second = await queue.retry_graph(graph)
    assert first.items() <= second.items()
    assert len(second) == 4
    newest = second[first[after.id]]
    assert await finish(raw, "bad") == second[first[bad.id]]
    assert await finish(raw, "after") == newest


async def test_a_graph_in_which_nothing_failed_is_not_retried(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    graph.milestone([])
    await queue.submit(graph)
    with pytest.raises(Conflict, match="nothing to retry"):
        await queue.retry_graph(graph)


async def test_two_failures_that_held_back_the_same_job_are_retried_together(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    sources = [graph.add("bad") for _ in range(2)]
    joined = graph.add("joined", dependencies=sources)
    await queue.submit(graph)
    for _ in sources:
        await fail(raw, "bad")
    copies = await queue.retry_graph(graph)
    assert copies.keys() == {*(job.id for job in sources), joined.id}
    for _ in sources:
        await finish(raw, "bad")
    assert await finish(raw, "joined") == copies[joined.id]


async def test_a_copy_that_would_depend_on_one_job_twice_depends_on_it_once(
    queue: JobQueue, raw: RawClient
) -> None:
    first = await queue.enqueue("first")
    await fail(raw, "first")
    again = (await queue.retry(first))[first]
    held = await queue.enqueue("held", {"x": None}, dependencies=[first, again])
    assert (await queue.job_status(held)).skipped_because == first
    copy = (await queue.retry(first))[held]
    status = await queue.job_status(copy)
    assert [item.job for item in status.dependencies] == [again]
    assert status.dependency_count == 1
    await finish(raw, "first")
    assert await finish(raw, "held") == copy
