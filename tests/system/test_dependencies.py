"""Dependencies: on jobs in every state, wide fans, references, growth."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import Conflict, Cycle, Invalid, NotExist
from broker_queue.graph import Edge, Graph, new_job_id
from broker_queue.job import Condition, JobId, State
from scheduler.operations import settle
from scheduler.operations.transaction import Transaction
from tests.support.ends import ended_job, fail, finish
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE

MANY = 100_000
PIECE = 1_000
"""Edges that one transaction follows at most."""

SATISFIED = {
    (State.FINISHED, Condition.SUCCESS),
    (State.FAILED, Condition.FAILURE),
    *((state, Condition.ANY) for state in State if state.is_final),
}


@pytest.mark.parametrize("condition", list(Condition))
@pytest.mark.parametrize("state", [state for state in State if state.is_final])
async def test_a_dependency_on_a_job_that_ended_long_ago_is_settled_at_once(
    queue: JobQueue, raw: RawClient, state: State, condition: Condition
) -> None:
    before = await ended_job(queue, raw, state)
    job = await queue.enqueue("next", dependencies=[Edge(before, condition)])
    status = await queue.job_status(job)
    if (state, condition) in SATISFIED:
        assert status.state is State.QUEUED
    else:
        assert (status.state, status.skipped_because) == (State.SKIPPED, before)
    assert [(item.job, item.condition) for item in status.dependencies] == [(before, condition)]


@pytest.mark.parametrize("condition", list(Condition))
@pytest.mark.parametrize("state", [State.FINISHED, State.FAILED, State.CANCELED])
async def test_the_end_of_a_job_releases_or_skips_those_that_wait(
    queue: JobQueue, raw: RawClient, state: State, condition: Condition
) -> None:
    before = await queue.enqueue("first")
    job = await queue.enqueue("next", dependencies=[Edge(before, condition)])
    after = await queue.enqueue(None, dependencies=[Edge(job, Condition.ANY)])
    assert (await queue.job_status(job)).state is State.WAITING
    match state:
        case State.FINISHED:
            await finish(raw, "first")
        case State.FAILED:
            await fail(raw, "first")
        case _:
            await queue.cancel_job(before)
    is_satisfied = (state, condition) in SATISFIED
    assert (await queue.job_status(job)).state is (State.QUEUED if is_satisfied else State.SKIPPED)
    if is_satisfied:
        await finish(raw, "next")
    assert (await queue.wait(after, timeout=PATIENCE)).state is State.FINISHED


async def test_the_same_dependency_twice_counts_once_and_the_stricter_condition_holds(
    queue: JobQueue, raw: RawClient
) -> None:
    before = await queue.enqueue("first")
    twice = await queue.enqueue("twice", dependencies=[before, before])
    strict = await queue.enqueue(
        "strict", dependencies=[Edge(before, Condition.ANY), Edge(before, Condition.FAILURE)]
    )
    listed = (await queue.job_status(strict)).dependencies
    assert [item.condition for item in listed] == [Condition.FAILURE]
    assert (await queue.job_status(twice)).dependency_count == 1
    await finish(raw, "first")
    states = [status.state for status in await queue.job_statuses([twice, strict])]
    assert states == [State.QUEUED, State.SKIPPED]


async def test_success_and_failure_of_the_same_job_are_refused_together(queue: JobQueue) -> None:
    before = await queue.enqueue("first")
    both = [Edge(before, Condition.SUCCESS), Edge(before, Condition.FAILURE)]
    with pytest.raises(Invalid, match="no end of it satisfies both"):
        await queue.enqueue("never", dependencies=both)
    graph = Graph()
    handle = graph.add("source")
    graph.add("never", {"x": handle.result}, dependencies=[handle.failed])
    with pytest.raises(Invalid, match="a result reference means success"):
        await queue.submit(graph)


async def test_an_unknown_dependency_is_named(queue: JobQueue) -> None:
    unknown = str(uuid4())
    with pytest.raises(NotExist, match=unknown) as caught:
        await queue.enqueue("a", dependencies=[unknown])
    assert caught.value.details == {"field": "jobs[0].dependencies", "jobs": [unknown]}


async def test_dependencies_keep_the_order_in_which_they_were_given(
    queue: JobQueue, raw: RawClient
) -> None:
    parents = [await queue.enqueue(None) for _ in range(20)]
    wanted = parents[::-1] + parents
    job = await queue.enqueue("ordered", dependencies=wanted)
    listed = [item.job for item in (await queue.job_status(job)).dependencies]
    assert listed == parents[::-1]
    delivery = await raw.take("ordered")
    assert delivery.headers["dependencies"] == listed


async def test_a_chain_of_a_thousand_milestones_ends_at_once(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    tail = first = graph.add("first")
    for _ in range(1_000):
        tail = graph.milestone([tail])
    await queue.submit(graph)
    assert (await queue.job_status(tail)).state is State.WAITING
    assert await finish(raw, "first") == first.id
    assert (await queue.wait(tail, timeout=PATIENCE)).result is None


class Told:
    """Listens in on the telling of dependents, whose scheduler runs in a thread of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.edges: Counter[int] = Counter()
        """By transaction."""
        self._transactions: list[Transaction] = []  # kept, so that none takes another's place
        self._tell = settle.tell
        monkeypatch.setattr(settle, "tell", self._listen)

    def _listen(self, transaction: Transaction, edges: Sequence[settle.OpenEdge]) -> None:
        self._transactions.append(transaction)
        self.edges[id(transaction)] += len(edges)
        self._tell(transaction, edges)

    async def others_go_on(self, queue: JobQueue, until: asyncio.Task[Any], amount: int) -> None:
        """Check that all were told in pieces, and that a request was answered between two of them."""
        reached = []
        while not until.done():
            await queue.enqueue("unrelated")
            reached.append(self.edges.total())
        assert max(self.edges.values()) <= PIECE
        assert self.edges.total() == amount
        assert any(0 < edges < amount for edges in reached)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


async def test_many_dependents_are_released_in_pieces_while_others_go_on(
    queue: JobQueue, raw: RawClient, told: Told
) -> None:
    graph = Graph()
    first = graph.add("first")
    wide = [graph.milestone([first]) for _ in range(MANY)]
    await queue.submit(graph)
    waiting = asyncio.create_task(queue.wait(wide[-1]))
    await finish(raw, "first")
    await told.others_go_on(queue, waiting, MANY)
    assert {(item.type, item.state): item.jobs for item in (await queue.graph(graph)).counts} == {
        ("first", State.FINISHED): 1,
        (None, State.FINISHED): MANY,
    }


async def test_many_dependents_are_skipped_in_pieces_while_others_go_on(
    queue: JobQueue, raw: RawClient, told: Told
) -> None:
    graph = Graph()
    first = graph.add("first")
    wide = [graph.milestone([first]) for _ in range(MANY // 10)]
    await queue.submit(graph)
    waiting = asyncio.create_task(queue.wait(wide[-1]))
    await fail(raw, "first")
    await told.others_go_on(queue, waiting, MANY // 10)
    assert waiting.result().skipped_because == first.id
    late = await queue.enqueue("late", dependencies=[first.id])
    assert (await queue.job_status(late)).state is State.SKIPPED


async def test_one_job_with_many_dependencies_waits_for_the_last(
    queue: JobQueue, raw: RawClient
) -> None:
    graph = Graph()
    gate = graph.add("gate")
    parents = [graph.milestone([]) for _ in range(MANY - 1)]
    joined = graph.add("joined", dependencies=[*parents, gate])
    await queue.submit(graph)
    status = (await queue.list(name=None, type="joined")).jobs[0]
    assert (status.state, status.dependency_count) == (State.WAITING, MANY)
    assert "waits for 1 dependency" in (await queue.explain(joined)).summary
    await finish(raw, "gate")
    delivery = await raw.take("joined")
    assert delivery.headers["dependency_count"] == MANY
    assert "dependencies" not in delivery.headers


# Result references


async def referring(
    queue: JobQueue, raw: RawClient, result: Any, args: Any, references: list[dict[str, Any]]
) -> JobId:
    source, sink = new_job_id(), new_job_id()
    jobs = [
        {"id": source, "type": "source"},
        {"id": sink, "type": "sink", "args": args}
        | {"references": [item | {"job": 0} for item in references]},
    ]
    kind, answer = await raw.request("submit", {"jobs": jobs})
    assert kind == "ok", answer
    await finish(
        raw, "source", result if isinstance(result, bytes) else json.dumps(result).encode()
    )
    return sink


@pytest.mark.parametrize(
    ("result", "args", "at", "pointer", "filled"),
    [
        ({"a": [{"b": 7}]}, {"x": None}, "/x", "/a/0/b", {"x": 7}),
        ({"a/b": {"c~d": 1}}, {"e/f": {"~": None}}, "/e~1f/~0", "/a~1b/c~0d", {"e/f": {"~": 1}}),
        ({"": {"": 5}}, {"": None}, "/", "//", {"": 5}),
        ([1, [2, 3]], [0, None], "/1", "/1", [0, [2, 3]]),
        ("whole", None, "", "", "whole"),
        ({"~1": 1}, {"x": None}, "/x", "/~01", {"x": 1}),
        ({"ä": "ö"}, {"ü": None}, "/ü", "/ä", {"ü": "ö"}),
        ({"0": "zero"}, {"new": {}}, "/new/member", "/0", {"new": {"member": "zero"}}),
    ],
)
async def test_a_reference_puts_part_of_a_result_in_place(  # parameters of a case
    queue: JobQueue, raw: RawClient, result: Any, args: Any, at: str, pointer: str, filled: Any
) -> None:
    await referring(queue, raw, result, args, [{"at": at, "pointer": pointer}])
    delivery = await raw.take("sink")
    assert json.loads(delivery.body) == filled


async def test_a_referenced_value_passes_through_unchanged(queue: JobQueue, raw: RawClient) -> None:
    value = b'{"n" : 1.000, "big":1' + b"0" * 400 + b', "u":"\\u0000"}'
    await referring(
        queue, raw, b'{"v":' + value + b"}", {"x": None}, [{"at": "/x", "pointer": "/v"}]
    )
    assert (await raw.take("sink")).body == b'{"x":' + value + b"}"


@pytest.mark.parametrize("pointer", ["/b", "/a/0", "/list/2", "/list/-", "/list/01", "/list/x"])
async def test_a_pointer_that_leads_nowhere_fails_the_job(
    queue: JobQueue, raw: RawClient, pointer: str
) -> None:
    result = {"a": 1, "list": [0, 1]}
    job = await referring(queue, raw, result, {"x": None}, [{"at": "/x", "pointer": pointer}])
    status = await queue.wait(job, timeout=PATIENCE)
    assert status.state is State.FAILED
    assert status.error is not None
    assert status.error.code == "invalid_reference"
    assert repr(pointer) in status.error.message


async def test_a_reference_to_a_milestone_gives_null(queue: JobQueue, raw: RawClient) -> None:
    graph = Graph()
    graph.add("sink", {"x": graph.milestone([]).result, "y": 1})
    await queue.submit(graph)
    assert json.loads((await raw.take("sink")).body) == {"x": None, "y": 1}


@pytest.mark.parametrize(
    ("args", "places", "problem"),
    [
        ({"x": None}, ["/x", "/x"], "given twice"),
        ({"x": {"y": None}}, ["/x", "/x/y"], "replaces"),
        ({"x": None}, ["", "/x"], "replaces"),
        ({"x": None}, ["/x/y"], "no members"),
        ({}, ["/x/y"], "no member"),
        ([None], ["/1"], "no item 1"),
        ([None], ["/-"], "no index"),
        (None, ["/x"], "no members"),
    ],
)
async def test_places_that_do_not_exist_or_overlap_are_refused(
    raw: RawClient, args: Any, places: list[str], problem: str
) -> None:
    references = [{"at": at, "job": 0} for at in places]
    jobs = [
        {"id": new_job_id(), "type": "source"},
        {"id": new_job_id(), "type": "sink", "args": args, "references": references},
    ]
    kind, error = await raw.request("submit", {"jobs": jobs})
    assert (kind, error["code"]) == ("error", "invalid")
    assert problem in error["message"]


async def test_results_that_fill_a_job_beyond_every_message_fail_it(
    queue: JobQueue, raw: RawClient
) -> None:
    text = json.dumps("x" * 1_000_000).encode()
    references = [{"at": f"/{i}", "pointer": ""} for i in range(13)]
    job = await referring(queue, raw, text, [None] * 13, references)
    status = await queue.wait(job, timeout=PATIENCE)
    assert status.error is not None
    assert "the limit is" in status.error.message


# Growing graphs


async def test_a_report_with_jobs_is_all_or_nothing(queue: JobQueue, raw: RawClient) -> None:
    job = await queue.enqueue("grows", max_attempts=3)
    delivery = await raw.take("grows")
    new = {"id": new_job_id(), "type": "grown", "dependencies": [job]}
    bad = {"id": new_job_id(), "type": "grown", "dependencies": [str(uuid4())]}
    body = {"result": 1, "jobs": [new, bad]}
    answer = await raw.report("finished_with_jobs", delivery.correlation_id, body)
    assert answer == ("accepted", {"state": "failed"})
    assert (await queue.list(type="grown")).jobs == []
    status = await queue.job_status(job)
    assert status.error is not None
    assert status.error.code == "invalid_jobs"


async def test_a_report_with_jobs_that_comes_twice_counts_once(
    queue: JobQueue, raw: RawClient
) -> None:
    job = await queue.enqueue("grows")
    delivery = await raw.take("grows")
    new = {"id": new_job_id(), "type": "grown", "dependencies": [job]}
    body = {"result": 1, "jobs": [new]}
    first = await raw.report("finished_with_jobs", delivery.correlation_id, body)
    again = await raw.report("finished_with_jobs", delivery.correlation_id, body)
    assert (first.type, again.type) == ("accepted", "stale")
    assert [item.state for item in (await queue.list(type="grown")).jobs] == [State.QUEUED]


async def test_a_job_may_not_make_itself_wait(queue: JobQueue, raw: RawClient) -> None:
    job = await queue.enqueue("grows")
    delivery = await raw.take("grows")
    body = {"jobs": [{"id": new_job_id()}], "extend": [{"job": job, "dependencies": [0]}]}
    answer = await raw.report("finished_with_jobs", delivery.correlation_id, body)
    assert answer == ("accepted", {"state": "failed"})
    assert len((await queue.list()).jobs) == 1


async def test_a_waiting_or_delayed_job_can_be_given_more_to_wait_for(
    queue: JobQueue, raw: RawClient
) -> None:
    first, second = await queue.enqueue("first"), await queue.enqueue("second")
    waiting = await queue.enqueue("waiting", dependencies=[first])
    delayed = await queue.enqueue("delayed", delay=60)
    for job in (waiting, delayed):
        await queue.add_dependencies(job, [second])
    await finish(raw, "first")
    statuses = await queue.job_statuses([waiting, delayed])
    assert [item.state for item in statuses] == [State.WAITING, State.WAITING]
    await finish(raw, "second")
    statuses = await queue.job_statuses([waiting, delayed])
    assert [item.state for item in statuses] == [State.QUEUED, State.SCHEDULED]


async def test_an_extension_repeated_changes_nothing(queue: JobQueue) -> None:
    first = await queue.enqueue("first")
    job = await queue.enqueue("waiting", {"x": None}, dependencies=[first])
    second = await queue.enqueue("second")
    graph = Graph()
    reference = graph.add("source").result
    await queue.submit(graph)
    for _ in range(3):
        await queue.add_dependencies(job, [second, first], {"/x": reference})
    status = await queue.job_status(job)
    assert [item.job for item in status.dependencies] == [first, second, reference.job]


async def test_two_extensions_of_a_job_in_one_submit_count_as_one(
    queue: JobQueue, raw: RawClient
) -> None:
    job = await queue.enqueue("late", {"x": None, "y": None}, delay=60)
    graph = Graph()
    first, second = graph.add("first"), graph.add("second")
    graph.extend(job, [first], {"/x": first.result})
    graph.extend(job, [first.ended, second], {"/y": second.result})
    await queue.submit(graph)
    listed = (await queue.job_status(job)).dependencies
    assert [(item.job, item.condition) for item in listed] == [
        (first.id, Condition.SUCCESS),
        (second.id, Condition.SUCCESS),
    ]
    assert (await queue.submit(graph)).existed == 2


async def test_an_extension_by_what_ended_badly_skips_the_job(
    queue: JobQueue, raw: RawClient
) -> None:
    before = await ended_job(queue, raw, State.FAILED)
    job = await queue.enqueue("late", delay=60)
    await queue.add_dependencies(job, [before])
    status = await queue.job_status(job)
    assert (status.state, status.skipped_because) == (State.SKIPPED, before)


async def test_a_job_that_was_handed_out_or_ended_takes_no_more_dependencies(
    queue: JobQueue, raw: RawClient
) -> None:
    other = await queue.enqueue("other", delay=60)
    handed_out = await queue.enqueue("handed-out")
    delivery = await raw.take("handed-out")
    with pytest.raises(Conflict, match="handed out"):
        await queue.add_dependencies(handed_out, [other])
    await raw.report("started", delivery.correlation_id, {})
    with pytest.raises(Conflict, match="handed out"):
        await queue.add_dependencies(handed_out, [other])
    ended = await ended_job(queue, raw, State.CANCELED)
    with pytest.raises(Conflict, match="canceled already"):
        await queue.add_dependencies(ended, [other])
    with pytest.raises(NotExist):
        await queue.add_dependencies(str(uuid4()), [other])
    with pytest.raises(NotExist):
        await queue.add_dependencies(other, [str(uuid4())])


async def test_another_condition_for_a_known_dependency_is_a_conflict(queue: JobQueue) -> None:
    first = await queue.enqueue("first")
    job = await queue.enqueue("waiting", dependencies=[first])
    with pytest.raises(Conflict, match="with the condition success"):
        await queue.add_dependencies(job, [Edge(first, Condition.ANY)])


async def test_an_extension_that_closes_a_cycle_is_refused(queue: JobQueue) -> None:
    first = await queue.enqueue("first", delay=60)
    middle = await queue.enqueue(None, dependencies=[first])
    last = await queue.enqueue("last", dependencies=[middle])
    with pytest.raises(Cycle) as caught:
        await queue.add_dependencies(first, [last])
    assert caught.value.details["path"] == [first, last, middle, first]
    with pytest.raises(Cycle):
        await queue.add_dependencies(first, [first])
    assert (await queue.job_status(first)).dependency_count == 0


async def test_two_extensions_that_close_a_cycle_together_are_refused(queue: JobQueue) -> None:
    first, second = [await queue.enqueue("late", delay=60) for _ in range(2)]
    graph = Graph()
    between = graph.milestone([second])
    graph.extend(first, [between])
    graph.extend(second, [first])
    with pytest.raises(Cycle):
        await queue.submit(graph)
    assert len((await queue.list()).jobs) == 2


async def test_a_cycle_through_a_job_that_the_submit_repeats_is_refused(queue: JobQueue) -> None:
    graph = Graph()
    repeated = graph.add("late", delay=60)
    await queue.submit(graph)
    other = await queue.enqueue("late", delay=60)
    await queue.add_dependencies(repeated, [other])
    graph.extend(other, [repeated])
    with pytest.raises(Cycle):
        await queue.submit(graph)
