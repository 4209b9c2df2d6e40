"""Submits: all or nothing, any number of times."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import Conflict, Cycle, Invalid, NotExist, TooLarge
from broker_queue.graph import Graph, new_job_id
from broker_queue.job import State
from broker_queue.protocol import messages
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, TIMEOUT_FACTOR, until

MANY = 100_000


async def count(queue: JobQueue) -> int:
    return sum((await queue.info()).jobs.values())


async def test_an_empty_graph_is_stored_and_has_no_jobs(queue: JobQueue) -> None:
    graph = Graph("empty")
    submitted = await queue.submit(graph)
    assert (submitted.jobs, submitted.existed, submitted.graph) == (0, 0, graph.id)
    status = await queue.graph(graph.id)
    assert (status.name, status.counts) == ("empty", [])


async def test_the_same_id_with_equal_content_changes_nothing(raw: RawClient) -> None:
    job = {"id": new_job_id(), "type": "a", "args": {"x": 1}, "priority": 7}
    first = await raw.request("submit", {"jobs": [job]})
    again = await raw.request("submit", {"jobs": [job]})
    assert first == ("ok", {"jobs": 1})
    assert again == ("ok", {"jobs": 1, "existed": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"type": "b"},
        {"args": {"x": 2}},
        {"priority": 6},
        {"name": "other"},
        {"channel": "other"},
        {"max_attempts": 2},
        {"delay": 1},
        {"timeout": 1},
        {"available_at": 1},
        {"backoff": {"initial": 2}},
        {"dependencies": [0]},
        {"references": [{"at": "/x", "job": 0}]},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_the_same_id_with_other_content_is_a_conflict(
    raw: RawClient, queue: JobQueue, change: dict[str, Any]
) -> None:
    job = {"id": new_job_id(), "type": "a", "args": {"x": 1}}
    other = {"id": new_job_id(), "type": "a"}
    await raw.request("submit", {"jobs": [job]})
    kind, error = await raw.request("submit", {"jobs": [other, job | change]})
    assert (kind, error["code"]) == ("error", "conflict")
    assert error["details"] == {"field": "jobs[1].id", "job": job["id"]}
    with pytest.raises(NotExist):
        await queue.job_status(str(other["id"]))


@pytest.mark.parametrize(
    "change",
    [
        {"dependencies": []},
        {"dependencies": [0, {"job": 1, "condition": "any"}]},
        {"dependencies": [1, 0]},
        {"references": []},
        {"references": [{"at": "/x", "job": 0, "pointer": "/other"}]},
        {"backoff": {"initial": 2}},
        {"available_at": 4_000_000_000_000},
    ],
    ids=str,
)
async def test_other_dependencies_or_times_are_other_content(
    raw: RawClient, change: dict[str, Any]
) -> None:
    parents = [{"id": new_job_id(), "type": "a"} for _ in range(2)]
    job = {
        "id": new_job_id(),
        "type": "b",
        "args": {"x": None},
        "dependencies": [0, 1],
        "references": [{"at": "/x", "job": 0}],
    }
    assert (await raw.request("submit", {"jobs": [*parents, job]})).type == "ok"
    assert (await raw.request("submit", {"jobs": [*parents, job]})).body["existed"] == 3
    kind, error = await raw.request("submit", {"jobs": [*parents, job | change]})
    assert (kind, error["code"]) == ("error", "conflict")


async def test_content_is_equal_whether_jobs_are_named_by_position_or_by_id(
    raw: RawClient,
) -> None:
    first, second = new_job_id(), new_job_id()
    by_position = {"dependencies": [0], "references": [{"at": "/x", "job": 0}]}
    by_id = {"dependencies": [first], "references": [{"at": "/x", "job": first}]}
    job = {"id": second, "type": "b", "args": {"x": None}}
    jobs = [{"id": first, "type": "a"}, job | by_position]
    assert (await raw.request("submit", {"jobs": jobs})).type == "ok"
    alone = await raw.request("submit", {"jobs": [job | by_id]})
    assert alone == ("ok", {"jobs": 1, "existed": 1})


async def test_a_graph_submitted_again_gets_what_was_added_to_it_since(queue: JobQueue) -> None:
    graph = Graph()
    first = graph.add("a")
    await queue.submit(graph)
    graph.add("b", dependencies=[first])
    submitted = await queue.submit(graph)
    assert (submitted.jobs, submitted.existed) == (2, 1)
    assert sum(item.jobs for item in (await queue.graph(graph)).counts) == 2


async def test_a_submit_that_extends_a_job_by_its_own_jobs_may_be_repeated(
    queue: JobQueue,
) -> None:
    waiting = await queue.enqueue("late", delay=60)
    graph = Graph()
    graph.extend(waiting, [graph.add("early")], {})
    await queue.submit(graph)
    submitted = await queue.submit(graph)
    assert submitted.existed == 1
    status = await queue.job_status(waiting)
    assert (status.state, status.dependency_count) == (State.WAITING, 1)


async def test_the_same_submit_from_ten_clients_at_once_exists_once(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    graph = Graph()
    tail = graph.add("a")
    for _ in range(50):
        tail = graph.add("a", dependencies=[tail])

    async def submit() -> messages.Submitted:
        async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as client:
            return await client.submit(graph)

    answers = await asyncio.gather(*(submit() for _ in range(10)))
    assert sorted(answer.existed for answer in answers) == [0] + [51] * 9
    assert await count(queue) == 51


async def test_a_submit_without_an_address_is_stored_all_the_same(
    raw: RawClient, queue: JobQueue
) -> None:
    job = messages.NewJob(id=new_job_id(), type="a")
    body = messages.encode(messages.Submit(jobs=[job]))
    await raw.publish(raw.names.requests, "requests", body, type="submit")
    await raw.request("submit", {"jobs": []})
    assert (await queue.job_status(job.id)).state is State.QUEUED


BROKEN: dict[str, dict[str, Any]] = {
    "unknown-dependency": {"type": "a", "dependencies": [str(uuid4())]},
    "position-beyond": {"type": "a", "dependencies": [99]},
    "negative-position": {"type": "a", "dependencies": [-1]},
    "huge-position": {"type": "a", "dependencies": [10**30]},
    "no-uuid": {"type": "a", "dependencies": ["x" * 36]},
    "condition": {"type": "a", "dependencies": [{"job": 0, "condition": "maybe"}]},
    "empty-type": {"type": ""},
    "long-type": {"type": "x" * 101},
    "type-with-blank": {"type": "a b"},
    "type-with-newline": {"type": "a\n"},
    "channel-with-newline": {"type": "a", "channel": "c\n"},
    "long-channel": {"type": "a", "channel": "x" * 61},
    "long-name": {"type": "a", "name": "x" * 201},
    "surrogate-name": {"type": "a", "name": "\ud800"},
    "priority": {"type": "a", "priority": 10},
    "priority-as-text": {"type": "a", "priority": "4"},
    "no-attempt": {"type": "a", "max_attempts": 0},
    "attempts": {"type": "a", "max_attempts": 1001},
    "no-time": {"type": "a", "timeout": 0},
    "negative-delay": {"type": "a", "delay": -1},
    "long-delay": {"type": "a", "delay": 1e300},
    "late": {"type": "a", "available_at": 2**63},
    "later": {"type": "a", "available_at": 10**30},
    "delay-and-moment": {"type": "a", "delay": 1, "available_at": 1},
    "milestone-with-args": {"args": {}},
    "factor": {"type": "a", "backoff": {"factor": 0.5}},
    "jitter": {"type": "a", "backoff": {"jitter": 2}},
    "unknown-field": {"type": "a", "prority": 1},
    "place-that-is-not-there": {"type": "a", "args": {}, "references": [{"at": "/a/b", "job": 0}]},
    "pointer": {"type": "a", "args": [0], "references": [{"at": "0", "job": 0}]},
    "escape": {"type": "a", "args": [0], "references": [{"at": "/0", "job": 0, "pointer": "/~2"}]},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_nothing_of_a_refused_submit_is_stored(
    raw: RawClient, queue: JobQueue, broken: dict[str, Any]
) -> None:
    graph = str(uuid4())
    good = [{"id": new_job_id(), "type": "a"} for _ in range(3)]
    body = {"jobs": [*good, {"id": new_job_id()} | broken], "graph": {"id": graph}}
    kind, error = await raw.request("submit", body)
    assert kind == "error"
    assert error["code"] == ("not_exist" if broken is BROKEN["unknown-dependency"] else "invalid")
    assert error["details"]["field"].startswith("jobs") or "surrogate" in error["message"]
    assert await count(queue) == 0
    with pytest.raises(NotExist):
        await queue.graph(graph)


async def test_the_same_id_twice_in_one_submit_is_refused(raw: RawClient) -> None:
    job = {"id": new_job_id(), "type": "a"}
    kind, error = await raw.request("submit", {"jobs": [job, job]})
    assert (kind, error["code"], error["details"]) == ("error", "invalid", {"field": "jobs[1].id"})


async def test_a_job_that_depends_on_itself_is_refused(queue: JobQueue) -> None:
    graph, identity = Graph(), new_job_id()
    graph.add("a", id=identity, dependencies=[identity])
    with pytest.raises(Cycle) as caught:
        await queue.submit(graph)
    assert caught.value.details["path"] == [identity, identity]
    assert await count(queue) == 0


@pytest.mark.parametrize("length", [2, 1_000])
async def test_a_cycle_is_refused_and_named_as_a_path(queue: JobQueue, length: int) -> None:
    graph = Graph()
    ids = [new_job_id() for _ in range(length)]
    for position, identity in enumerate(ids):
        before = ids[position - 1]
        graph.add("a", id=identity, name=f"n{position}", dependencies=[before])
    with pytest.raises(Cycle) as caught:
        await queue.submit(graph)
    path = caught.value.details["path"]
    assert (len(path), path[0]) == (length + 1, path[-1])
    followers = {f"n{i}": f"n{(i + 1) % length}" for i in range(length)}
    assert all(followers[a] == b for a, b in pairwise(path))
    assert path[0] in str(caught.value)
    assert len(str(caught.value)) < 1_000
    assert await count(queue) == 0


async def test_limits_of_jobs_and_dependencies_are_named(
    broker_url: str, namespace: str, tmp_path: Any
) -> None:
    scheduler = RunningScheduler(
        url=broker_url,
        namespace=namespace,
        database=tmp_path / "scheduler.sqlite3",
        max_jobs=10,
        max_dependencies=5,
    )
    async with (
        scheduler,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        wide = Graph()
        for _ in range(11):
            wide.add("a")
        with pytest.raises(TooLarge) as caught:
            await queue.submit(wide)
        assert caught.value.details == {"field": "jobs", "size": 11, "limit": 10}
        deep = Graph()
        deep.milestone([deep.add("a") for _ in range(6)])
        with pytest.raises(TooLarge) as caught:
            await queue.submit(deep)
        assert caught.value.details == {"field": "jobs[6].dependencies", "size": 6, "limit": 5}
        assert await count(queue) == 0


async def test_parts_exist_from_the_last_one_on_in_whatever_order_they_come(
    raw: RawClient, queue: JobQueue
) -> None:
    graph = str(uuid4())
    jobs = [
        {"id": new_job_id(), "type": "a", "dependencies": [i - 1] if i else []} for i in range(3)
    ]
    parts = [
        {"jobs": [job], "graph": {"id": graph}, "part": number, "parts": 3}
        for number, job in enumerate(jobs, start=1)
    ]
    for part in (parts[2], parts[0], parts[0]):
        answer = await raw.request("submit", part)
        assert answer.body["complete"] is False
    assert await count(queue) == 0
    assert (await raw.request("submit", parts[1])).body == {"jobs": 3, "graph": graph}
    states = [(await queue.job_status(str(job["id"]))).state for job in jobs]
    assert states == [State.QUEUED, State.WAITING, State.WAITING]


async def test_a_refused_submit_in_parts_can_be_corrected_and_sent_again(
    raw: RawClient, queue: JobQueue
) -> None:
    graph = {"id": str(uuid4())}
    good = {"jobs": [{"id": new_job_id(), "type": "a"}], "graph": graph, "part": 1, "parts": 2}
    job = {"id": new_job_id(), "type": "a"}
    bad = {"jobs": [job | {"dependencies": [7]}], "graph": graph, "part": 2, "parts": 2}
    await raw.request("submit", good)
    assert (await raw.request("submit", bad)).body["code"] == "invalid"
    assert await count(queue) == 0
    await raw.request("submit", good)
    assert (await raw.request("submit", bad | {"jobs": [job]})).body["jobs"] == 2


async def test_parts_that_never_become_complete_are_forgotten_after_an_hour(
    broker_url: str, namespace: str, database: Path
) -> None:
    scheduler = RunningScheduler(
        url=broker_url, namespace=namespace, database=database, takeover_after=2
    )
    old, recent = ({"id": str(uuid4())} for _ in range(2))
    async with scheduler, RawClient(broker_url, namespace) as raw:
        for graph in (old, recent):
            answer = await raw.request("submit", {"jobs": [], "graph": graph, "parts": 2})
            assert answer.body["complete"] is False
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            age = "UPDATE part SET received_at = received_at - ? WHERE graph_id = ?"
            connection.execute(age, (3_601_000, UUID(old["id"]).bytes))
            connection.execute(age, (3_500_000, UUID(recent["id"]).bytes))

            async def one_is_left() -> bool:
                rows = connection.execute("SELECT graph_id FROM part").fetchall()
                return rows == [(UUID(recent["id"]).bytes,)]

            await until(one_is_left)  # with a renewal of the lease
        answer = await raw.request("submit", {"jobs": [], "graph": old, "part": 2, "parts": 2})
        assert answer.body["complete"] is False


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"graph": None}, "graph"),
        ({"part": 3}, "part"),
        ({"part": 0}, "part"),
        ({"parts": 10_001}, "parts"),
    ],
)
async def test_parts_that_do_not_fit_together_are_refused(
    raw: RawClient, change: dict[str, Any], field: str
) -> None:
    part = {"jobs": [], "graph": {"id": str(uuid4())}, "part": 1, "parts": 2}
    kind, error = await raw.request("submit", part | change)
    assert (kind, error["code"], error["details"]["field"]) == ("error", "invalid", field)


async def test_a_graph_of_100_000_jobs_goes_in_parts_and_is_atomic(
    queue: JobQueue,
) -> None:
    graph = Graph("large")
    for position in range(MANY):
        before = [graph.jobs[position - 1].id] if position % 100 else []
        graph.add("large", position, dependencies=before)
    started = time.monotonic()
    submission = asyncio.create_task(queue.submit(graph))
    seen = set()
    while not submission.done():
        seen.add(await count(queue))
        await asyncio.wait([submission], timeout=0.2)
    assert (await submission).jobs == MANY
    assert time.monotonic() - started < 60 * TIMEOUT_FACTOR
    assert seen <= {0, MANY}
    statuses = (await queue.graph(graph)).counts
    assert {item.state: item.jobs for item in statuses} == {
        State.QUEUED: MANY // 100,
        State.WAITING: MANY - MANY // 100,
    }


def test_a_job_too_large_for_any_message_is_refused_before_it_is_sent() -> None:
    from broker_queue.parts import in_parts

    graph = Graph()
    graph.add("a", "x" * (16 << 20))
    with pytest.raises(TooLarge, match="more than a message"):
        in_parts(graph.to_message())


def test_a_graph_refuses_what_has_no_json_form_as_it_is_built() -> None:
    graph = Graph()
    for wrong in (float("nan"), float("inf"), object(), "\ud800", {1: {2: object()}}):
        with pytest.raises(Invalid, match="JSON"):
            graph.add("a", {"value": wrong})
    with pytest.raises(Invalid, match="list of jobs"):
        graph.add("a", dependencies=str(uuid4()))
    with pytest.raises(Invalid, match="UUID"):
        graph.add("a", dependencies=["nonsense"])
    assert len(graph) == 0


async def test_an_unknown_option_or_one_out_of_bounds_is_refused(queue: JobQueue) -> None:
    for make in (queue.enqueue, Graph().add):
        with pytest.raises(TypeError, match="'prority'"):
            await make("a", prority=9)
    for option in ({"priority": 10}, {"max_attempts": 0}, {"timeout": -1}, {"delay": -1}):
        with pytest.raises(Invalid):
            await queue.enqueue("a", **option)
    with pytest.raises(Invalid):
        await queue.enqueue("no such type name!")
    identity = await queue.enqueue("a", 1)
    with pytest.raises(Conflict):
        await queue.enqueue("a", 2, id=identity)
    assert await count(queue) == 1
