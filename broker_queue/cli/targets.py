"""Which jobs a command means: ids, ``last``, a job's name in a graph, the beginning of an id."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker_queue.cli.invocation import Invocation
from broker_queue.cli.remembered import LAST, Remembered, recall
from broker_queue.errors import Conflict, Invalid, NotExist
from broker_queue.job import GraphId, JobId, State, parse_graph_id, parse_job_id

if TYPE_CHECKING:
    from broker_queue.client import JobQueue
    from broker_queue.status import JobStatus

PAGE = 1_000
"""Jobs asked for at once, the most that one list gives."""

SEARCHED = 1_000
"""Newest jobs among which the beginning (or end) of an id is looked for."""

FAILURES = (State.FAILED, State.CANCELED)
"""What makes a graph a failure. A job skipped alone does not: a job that handles failures is
skipped whenever there was none."""

_PART_OF_ID = re.compile(r"[0-9a-fA-F-]{4,35}\Z")


@dataclass(frozen=True, slots=True)
class Targets:
    """What a command is about: some jobs, or all jobs of one graph."""

    jobs: tuple[JobId, ...] = ()
    graph: GraphId | None = None


async def find_targets(
    run: Invocation, queue: JobQueue, words: Sequence[str], graph: str | None
) -> Targets:
    """Return what the words of a command line mean; ``last`` or one id alone may be a graph.

    Raises:
        Invalid: nothing is named, or both jobs and a graph.
        NotExist: there is no such job.
    """
    if graph and words:
        raise Invalid("name jobs or --graph, not both")
    if graph:
        return Targets(graph=find_graph(run, graph))
    if not words:
        raise Invalid("name at least one job, `last`, or --graph ID")
    if list(words) == [LAST]:
        made = _recall(run)
        if made.kind == "graph":
            return Targets(graph=GraphId(made.id))
    jobs = tuple(await find_jobs(run, queue, words))
    if words == [*jobs] and len(jobs) == 1:
        return await _job_or_graph(queue, jobs[0])
    return Targets(jobs=jobs)


async def _job_or_graph(queue: JobQueue, identifier: JobId) -> Targets:
    """Return the graph that has this id, else the job; ``submit`` prints ids of graphs."""
    with suppress(NotExist):
        return Targets(graph=GraphId((await queue.graph(identifier)).id))
    return Targets(jobs=(identifier,))


async def find_jobs(run: Invocation, queue: JobQueue, words: Sequence[str]) -> list[JobId]:
    """Return the ids that the words mean, each once, in their order.

    Raises:
        Invalid: a word can mean no job.
        NotExist: there is no such job.
        Conflict: it fits several.
    """
    found = [await find_job(run, queue, word) for word in words]
    return list(dict.fromkeys(found))


async def find_job(run: Invocation, queue: JobQueue, word: str) -> JobId:
    """Return the id that one word means; see `find_jobs`."""
    try:
        return parse_job_id(word)
    except ValueError:
        pass
    if word == LAST:
        made = _recall(run)
        if made.kind == "job":
            return JobId(made.id)
        raise Invalid(f"the last thing made was graph {made.id}; name a job of it as last/NAME")
    graph, slash, name = word.partition("/")
    if slash:
        return await _job_in_graph(queue, find_graph(run, graph), name)
    if not _PART_OF_ID.match(word):
        raise Invalid(
            f"{word!r} is no job: give an id, `last`, last/NAME or GRAPH/NAME "
            "(a job's name in a graph), or four or more digits of a recent id"
        )
    return await _job_like(queue, word.lower())


def find_graph(run: Invocation, word: str) -> GraphId:
    """Return the graph's id that a word means.

    Raises:
        Invalid: it is neither an id nor ``last``.
        NotExist: ``last`` is no graph.
    """
    if word == LAST:
        made = _recall(run)
        if made.kind != "graph":
            raise NotExist("the last thing made here was a single job, not a graph")
        return GraphId(made.id)
    try:
        return parse_graph_id(word)
    except ValueError as error:
        raise Invalid(f"{error}, or `last`") from None


async def jobs_of_graph(
    queue: JobQueue, graph: GraphId, *, states: Sequence[State] = (), dependencies: bool = False
) -> AsyncIterator[JobStatus]:
    """Yield the jobs of a graph, newest first, page by page."""
    before: int | None = None
    while True:
        page = await queue.list(
            graph=graph, states=states, limit=PAGE, before=before, dependencies=dependencies
        )
        for job in page.jobs:
            yield job
        if page.next is None:
            return
        before = page.next


async def _job_in_graph(queue: JobQueue, graph: GraphId, name: str) -> JobId:
    """Return the job of this name; of one that was retried, the newest copy."""
    page = await queue.list(graph=graph, name=name, limit=PAGE)
    if not page.jobs:
        raise NotExist(f"graph {graph} has no job named {name!r}")
    newest = [job.id for job in page.jobs if job.retried_as is None]
    if len(newest) != 1:
        raise Conflict(f"graph {graph} has several jobs named {name!r}; give the id")
    return newest[0]


async def _job_like(queue: JobQueue, part: str) -> JobId:
    page = await queue.list(limit=SEARCHED)
    fitting = [job.id for job in page.jobs if job.id.startswith(part) or job.id.endswith(part)]
    if not fitting:
        raise NotExist(f"no id of the {SEARCHED:,} newest jobs begins or ends with {part!r}")
    if len(fitting) > 1:
        raise Conflict(
            f"{len(fitting)} recent jobs fit {part!r}; ids of one moment begin alike, "
            "so give the last digits"
        )
    return fitting[0]


def _recall(run: Invocation) -> Remembered:
    made = recall(run.place)
    if made is None:
        raise NotExist(
            f"no `last` on {run.place}: this account has not used `enqueue` or `submit` there; "
            "what clients make is in `broker-queue list` and `broker-queue graphs`"
        )
    return made
