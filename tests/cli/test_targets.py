"""Which jobs the words of a command line mean."""

from __future__ import annotations

from typing import Any, cast

import pytest

from broker_queue.cli.invocation import Invocation, Options, make_invocation
from broker_queue.cli.remembered import remember
from broker_queue.cli.targets import Targets, find_graph, find_job, find_jobs, find_targets
from broker_queue.errors import Conflict, Invalid, NotExist
from broker_queue.job import State
from broker_queue.overview import GraphStatus
from tests.cli.conftest import NOW, FakeQueue, graph_id, job, job_id


@pytest.fixture
def run() -> Invocation:
    return make_invocation(Options())


@pytest.fixture
def asked() -> Any:
    return cast(Any, FakeQueue([job(1, State.QUEUED, name="a"), job(12, State.QUEUED, name="b")]))


async def test_ids_are_taken_as_they_are_each_once(run: Invocation, asked: Any) -> None:
    upper = job_id(7).upper()
    assert await find_jobs(run, asked, [job_id(7), upper, job_id(8)]) == [job_id(7), job_id(8)]
    assert asked.calls == []


async def test_last_is_the_job_made_last(run: Invocation, asked: Any) -> None:
    remember(run.place, "job", job_id(5))
    assert await find_job(run, asked, "last") == job_id(5)
    assert await find_targets(run, asked, ["last"], None) == Targets(jobs=(job_id(5),))


async def test_last_may_be_a_graph(run: Invocation, asked: Any) -> None:
    remember(run.place, "graph", graph_id(1))
    assert await find_targets(run, asked, ["last"], None) == Targets(graph=graph_id(1))
    assert find_graph(run, "last") == graph_id(1)
    with pytest.raises(Invalid, match="last/NAME"):
        await find_job(run, asked, "last")


async def test_last_is_kept_for_each_broker_and_namespace(run: Invocation, asked: Any) -> None:
    remember(run.place, "job", job_id(5))
    elsewhere = make_invocation(Options(namespace="other"))
    with pytest.raises(NotExist, match="has not used `enqueue` or `submit` there"):
        await find_job(elsewhere, asked, "last")
    assert "guest:guest" not in run.place


async def test_a_job_of_a_graph_is_found_by_its_name(run: Invocation, asked: Any) -> None:
    remember(run.place, "graph", graph_id(1))
    assert await find_job(run, asked, "last/b") == job_id(12)
    assert asked.calls == [("list", {"graph": graph_id(1), "name": "b", "limit": 1_000})]
    with pytest.raises(NotExist, match="no job named 'c'"):
        await find_job(run, asked, f"{graph_id(1)}/c")


async def test_two_jobs_of_one_name_are_a_conflict(run: Invocation) -> None:
    asked = cast(Any, FakeQueue([job(1, State.QUEUED, name="a"), job(2, State.QUEUED, name="a")]))
    with pytest.raises(Conflict, match="several jobs named"):
        await find_job(run, asked, f"{graph_id(1)}/a")


async def test_of_a_job_that_was_retried_its_newest_copy_is_meant(run: Invocation) -> None:
    jobs = [
        job(3, State.QUEUED, name="a"),
        job(2, State.FAILED, name="a", retried_as=job_id(3)),
        job(1, State.FAILED, name="a", retried_as=job_id(2)),
    ]
    assert await find_job(run, cast(Any, FakeQueue(jobs)), f"{graph_id(1)}/a") == job_id(3)


async def test_one_id_alone_may_be_a_graphs(run: Invocation, asked: Any) -> None:
    assert await find_targets(run, asked, [job_id(1)], None) == Targets(jobs=(job_id(1),))
    asked.graph_status = GraphStatus(id=graph_id(1), queued=NOW)
    assert await find_targets(run, asked, [graph_id(1)], None) == Targets(graph=graph_id(1))


async def test_the_end_of_a_recent_id_is_enough_if_it_is_the_only_one(
    run: Invocation, asked: Any
) -> None:
    assert await find_job(run, asked, "000012") == job_id(12)
    with pytest.raises(Conflict, match="2 recent jobs fit"):
        await find_job(run, asked, "01990000")
    with pytest.raises(NotExist, match="begins or ends with 'ffff'"):
        await find_job(run, asked, "FFFF")


@pytest.mark.parametrize("word", ["build", "1", "zzzz-zzzz", ""])
async def test_other_words_are_no_jobs(run: Invocation, asked: Any, word: str) -> None:
    with pytest.raises(Invalid, match="is no job"):
        await find_job(run, asked, word)


async def test_jobs_or_a_graph_but_not_both(run: Invocation, asked: Any) -> None:
    assert await find_targets(run, asked, [], graph_id(1)) == Targets(graph=graph_id(1))
    with pytest.raises(Invalid, match="not both"):
        await find_targets(run, asked, [job_id(1)], graph_id(1))
    with pytest.raises(Invalid, match="name at least one job"):
        await find_targets(run, asked, [], None)
    with pytest.raises(Invalid, match="'x' is no graph id"):
        find_graph(run, "x")
