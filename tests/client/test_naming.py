"""What may stand for a job or a graph in a call, and what is told of anything else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from broker_queue import Graph, GraphStatus, JobQueue, sync
from broker_queue.graph import job_id_of
from broker_queue.job import GraphId
from broker_queue.protocol.messages import Submitted

GRAPH = Graph("nightly")
HANDLE = GRAPH.add("fetch")
GRAPHS = [
    GRAPH,
    Submitted(jobs=1, graph=GRAPH.id),
    GraphStatus(id=GraphId(GRAPH.id), queued=datetime(2026, 1, 1, tzinfo=UTC)),
]
CALLS: dict[str, Callable[[JobQueue, Any], Any]] = {
    "watch": lambda queue, job: queue.watch(job),
    "job_status": lambda queue, job: queue.job_status(job),
    "job_statuses": lambda queue, job: queue.job_statuses([job]),
    "wait": lambda queue, job: queue.wait([job]),
    "result": lambda queue, job: queue.result(job),
    "cancel_job": lambda queue, job: queue.cancel_job(job),
    "retry": lambda queue, job: queue.retry(job),
    "explain": lambda queue, job: queue.explain(job),
    "add_dependencies": lambda queue, job: queue.add_dependencies(job, [HANDLE]),
    "enqueue": lambda queue, job: queue.enqueue("a", dependencies=[job]),
}


async def called(call: str, job: Any) -> None:
    """Call a method of a queue that is not connected: what is wrong is found before."""
    found = CALLS[call](JobQueue(), job)
    if call != "watch":
        await found


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: type(graph).__name__)
async def test_a_graph_where_a_job_is_wanted_is_told_where_it_may_stand(
    call: str, graph: Any
) -> None:
    with pytest.raises(TypeError, match=r"job: a \w+ was given where a job .* watch\(graph=…\)"):
        await called(call, graph)


@pytest.mark.parametrize("call", CALLS)
async def test_many_jobs_where_one_is_wanted_are_told_apart(call: str) -> None:
    with pytest.raises(TypeError, match=r"job: a list was given where one job .* watch\(\*jobs\)"):
        await called(call, [HANDLE])


async def test_the_blocking_client_says_the_same() -> None:
    with pytest.raises(TypeError, match="watch"):
        next(sync.JobQueue().watch(GRAPH))


async def test_a_job_where_a_graph_is_wanted_is_told_so() -> None:
    with pytest.raises(TypeError, match="graph: a job was given"):
        JobQueue().watch(graph=HANDLE)
    with pytest.raises(TypeError, match="graph: a job was given"):
        await JobQueue().cancel_graph(HANDLE.failed)  # type: ignore[arg-type]


def test_whatever_has_the_id_of_a_job_stands_for_it() -> None:
    assert job_id_of(HANDLE) == job_id_of(HANDLE.failed) == job_id_of(str(HANDLE)) == HANDLE.id
