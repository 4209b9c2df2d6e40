"""What a client is told of jobs."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest
from msgspec import Raw

from broker_queue import Graph, Invalid, JobQueue, JobStatus, NotExist, RawJson, State, client
from broker_queue.graph import new_job_id
from broker_queue.job import JobLike
from broker_queue.protocol import messages
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE

RAW = RawJson(b'{"n" : 123456789012345678901234567890, "f": 1.50}')


async def test_times_are_moments_in_utc_in_the_order_in_which_they_came(queue: JobQueue) -> None:
    job = await queue.enqueue("a", timeout=timedelta(minutes=1))
    waiting = await queue.job_status(job)
    assert (waiting.started, waiting.finished, waiting.is_final) == (None, None, False)
    await queue.finish_job(await queue.dequeue("a", timeout=PATIENCE))

    status = await queue.job_status(job)

    assert status.ready is not None
    assert status.started is not None
    assert status.finished is not None
    assert status.queued <= status.ready <= status.started <= status.finished
    assert status.queued.tzinfo is UTC
    assert abs(datetime.now(UTC) - status.finished) < timedelta(minutes=1)  # noqa: TID251  # compared with the clock
    assert status.is_final
    assert not status.canceled
    assert status.timeout == 60
    assert status.worker is not None


async def test_args_come_when_asked_for(queue: JobQueue) -> None:
    job = await queue.enqueue("a", RAW)

    without = await queue.job_status(job)
    with_args = await queue.job_status(job, args=True)

    assert (without.raw_args, without.args) == (None, None)
    assert with_args.raw_args == RAW
    assert with_args.args == {"n": 123456789012345678901234567890, "f": 1.5}


async def test_graphs_workers_and_the_scheduler_have_moments_too(queue: JobQueue) -> None:
    graph = Graph()
    graph.milestone([])
    await queue.submit(graph)
    await queue.enqueue("a")
    await queue.dequeue("a", timeout=PATIENCE)

    status = await queue.graph(graph)
    (listed,) = (await queue.graphs()).graphs
    (worker,) = await queue.workers()
    events = [event async for event in queue.watch(graph=graph)]

    assert listed == status
    assert status.finished is not None
    assert (await queue.info()).since <= status.queued <= status.finished
    assert worker.since <= worker.seen
    assert worker.software == f"broker-queue {version('broker-queue')} dequeue (Python)"
    assert [(event.at, event.at.tzinfo) for event in events] == [(status.finished, UTC)]


async def test_what_a_worker_said_is_parsed(raw: RawClient, queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    assert (await queue.job_status(job)).progress is None
    await raw.report("started", token, b"{}")
    await raw.report("progress", token, b'{"fraction": 0.5}')
    begun = (await queue.job_status(job)).progress
    await raw.report("progress", token, b'{"data": ' + RAW + b"}")
    later = (await queue.job_status(job)).progress
    await raw.report("failed", token, b'{"details": ' + RAW + b"}")
    error = (await queue.job_status(job)).error

    assert begun is not None
    assert (begun.fraction, begun.raw_data, begun.data) == (0.5, None, None)
    assert later is not None
    assert (later.raw_data, later.data) == (RAW, json.loads(RAW))
    assert error is not None
    assert (error.raw_details, error.details) == (RAW, json.loads(RAW))


async def test_a_moment_beyond_what_python_knows_is_its_last(
    raw: RawClient, queue: JobQueue
) -> None:
    identity = new_job_id()
    body = {"jobs": [{"id": identity, "type": "a", "available_at": 1 << 53}]}
    assert (await raw.request("submit", body)).type == "ok"

    status = await queue.job_status(identity)

    assert status.available_at is not None
    assert status.available_at.year == 9999


async def test_the_json_form_has_results_byte_for_byte_and_every_field(queue: JobQueue) -> None:
    first = await queue.enqueue("a", RAW)
    job = await queue.enqueue("b", dependencies=[first])
    await queue.finish_job(await queue.dequeue("a", timeout=PATIENCE), RAW)

    status = await queue.job_status(first, args=True)
    text = status.to_json()
    plain = json.loads((await queue.job_status(job)).to_json())

    assert b'"result":' + RAW in text
    assert b'"args":' + RAW in text
    assert plain["dependencies"] == [{"job": first, "state": "finished", "condition": "success"}]
    assert plain["queued"].endswith("Z")
    assert datetime.fromisoformat(json.loads(text)["finished"]) == status.finished
    assert (plain["state"], plain["finished"], plain["result"]) == ("queued", None, None)
    assert plain.keys() == json.loads(text).keys()


def test_a_status_is_parsed_once_and_compares_by_content() -> None:
    message = messages.JobStatus(id=new_job_id(), state=State.FINISHED, queued=1)
    message.result = Raw(b"[1]")
    status = JobStatus.from_message(message)
    assert status.result is status.result
    assert status == JobStatus.from_message(message)
    assert "raw_result" not in repr(status)


async def test_statuses_come_in_the_order_given_however_many_pages_it_takes(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_IDS", 3)
    graph = Graph()
    handles = [graph.milestone([]) for _ in range(10)]
    await queue.submit(graph)
    wanted: list[JobLike] = [*handles[::-1], handles[0], graph.jobs[4], handles[5].id.upper()]

    found = await queue.job_statuses(wanted)

    assert [status.id for status in found] == [
        *(handle.id for handle in handles[::-1]),
        handles[0].id,
        handles[4].id,
        handles[5].id,
    ]
    assert await queue.job_statuses([]) == []


async def test_a_graph_stands_for_its_jobs(queue: JobQueue) -> None:
    graph = Graph()
    handles = [graph.add("a"), graph.add("b")]
    await queue.submit(graph)
    assert [found.id for found in await queue.job_statuses(graph)] == [each.id for each in handles]
    assert [found.id for found in await queue.job_statuses(handles[0])] == [handles[0].id]


async def test_dependencies_come_along_each_once(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_IDS", 2)
    graph = Graph()
    first = graph.add("a")
    left, right = graph.add("b", dependencies=[first]), graph.add("b", dependencies=[first])
    last = graph.milestone([left, right])
    await queue.submit(graph)

    found = await queue.job_statuses([last], dependencies=True)

    assert found[0].id == last.id
    assert sorted(status.id for status in found) == sorted(job.id for job in graph.jobs)


async def test_results_can_be_left_out(queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    await queue.finish_job(await queue.dequeue("a", timeout=PATIENCE), RAW)

    [status] = await queue.job_statuses([job], result=False)

    assert (status.state, status.raw_result) == (State.FINISHED, None)


async def test_unknown_and_malformed_ids_are_told_apart(queue: JobQueue) -> None:
    with pytest.raises(NotExist):
        await queue.job_status(new_job_id())
    for nonsense in ("", "123", "not-a-uuid"):
        with pytest.raises(Invalid, match="is no job id"):
            await queue.job_status(nonsense)
    with pytest.raises(Invalid, match="is no graph id"):
        await queue.graph("nonsense")


async def test_a_list_has_the_jobs_that_match_newest_first(queue: JobQueue) -> None:
    graph = Graph("mine")
    handles = [graph.add("a", name=f"job {number}") for number in range(5)]
    await queue.submit(graph)
    await queue.enqueue("a")
    await queue.enqueue("b", channel="acme")
    await queue.cancel_job(handles[1])

    first = await queue.list(graph=graph, limit=3)
    second = await queue.list(graph=graph, limit=3, before=first.next)

    ids = [status.id for status in (*first.jobs, *second.jobs)]
    assert ids == [handle.id for handle in handles[::-1]]
    assert second.next is None
    assert [s.id for s in (await queue.list(states=[State.CANCELED])).jobs] == [handles[1].id]
    assert [s.id for s in (await queue.list(name="job 3")).jobs] == [handles[3].id]
    assert len((await queue.list(type="a")).jobs) == 6
    assert [s.channel for s in (await queue.list(channel="acme")).jobs] == ["acme"]


async def test_graphs_are_counted_by_type_and_state(queue: JobQueue) -> None:
    graph = Graph("mine")
    graph.add("a")
    graph.add("a")
    await queue.submit(graph)
    await queue.cancel_graph(graph, reason="enough")

    status = await queue.graph(graph)
    page = await queue.graphs()

    assert [(count.type, count.state, count.jobs) for count in status.counts] == [
        ("a", State.CANCELED, 2)
    ]
    assert [found.id for found in page.graphs] == [graph.id]
    assert page.graphs[0].name == "mine"
    with pytest.raises(NotExist):
        await queue.graph(new_job_id())


async def test_what_failed_is_retried_as_copies(queue: JobQueue) -> None:
    graph = Graph()
    failed = graph.add("a")
    skipped = graph.add("b", dependencies=[failed])
    await queue.submit(graph)
    await queue.fail_job(await queue.dequeue("a", timeout=PATIENCE), "no luck")
    await queue.wait(skipped)

    copies = await queue.retry(failed)
    again = await queue.retry_graph(graph)

    assert copies == again
    assert set(copies) == {failed.id, skipped.id}
    status = await queue.job_status(copies[failed.id])
    assert (status.state, status.retry_of) == (State.QUEUED, failed.id)
    assert (await queue.job_status(failed)).retried_as == copies[failed.id]


async def test_an_explanation_leads_to_the_cause(queue: JobQueue) -> None:
    failed = await queue.enqueue("a")
    skipped = await queue.enqueue("b", dependencies=[failed])
    await queue.fail_job(await queue.dequeue("a", timeout=PATIENCE), "no luck")
    await queue.wait(skipped)

    explanation = await queue.explain(skipped)

    assert explanation.job == skipped
    assert "no luck" in "".join(reason.text for reason in explanation.reasons)


async def test_many_calls_at_the_same_time_get_their_own_answers(queue: JobQueue) -> None:
    jobs = [await queue.enqueue(None) for _ in range(50)]

    found = await asyncio.gather(*(queue.job_status(job) for job in jobs))

    assert [status.id for status in found] == jobs


async def test_info_counts_jobs_and_names_versions(queue: JobQueue) -> None:
    await queue.enqueue("a")
    info = await queue.info()

    assert info.jobs["queued"] == 1
    assert info.broker.startswith("RabbitMQ")
    assert [line.type for line in info.queues] == ["a"]


async def test_info_names_what_workers_serve_before_there_is_a_job_for_it(
    raw: RawClient, queue: JobQueue
) -> None:
    await queue.enqueue("b")
    hello = {"worker": "raw", "types": ["a", "b"], "channels": ["", "eu"]}
    await raw.request("hello", hello)
    found = [(line.queue, line.in_line + line.handed_out) for line in (await queue.info()).queues]
    names = raw.names
    assert found == [
        (names.job_queue("a"), 0),
        (names.job_queue("a", "eu"), 0),
        (names.job_queue("b"), 1),
        (names.job_queue("b", "eu"), 0),
    ]
    await raw.request("hello", {**hello, "stopping": True})
    assert [line.type for line in (await queue.info()).queues] == ["b"]
