"""``status``, ``explain``, ``list``, ``graphs``, ``graph``, ``workers``: asking, changing nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker_queue.cli import arguments, limits
from broker_queue.cli.invocation import Invocation, command
from broker_queue.cli.refusals import no_graphs
from broker_queue.cli.targets import find_graph, find_job, find_targets, jobs_of_graph
from broker_queue.cli.waiting import related_jobs
from broker_queue.job import State

if TYPE_CHECKING:
    from broker_queue.client import JobQueue
    from broker_queue.status import JobPage, JobStatus

PANEL = "Look at jobs"


class Drawing(StrEnum):
    """How ``graph`` draws."""

    TREE = "tree"
    DOT = "dot"
    MERMAID = "mermaid"


LimitOption = Annotated[
    int,
    typer.Option(metavar="N", help="How many at most.", parser=arguments.whole_number(1, 1_000)),
]
BeforeOption = Annotated[
    int | None,
    typer.Option(
        metavar="NEXT",
        help="The page after the one that named this.",
        parser=arguments.whole_number(0, limits.LAST_PAGE),
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "status", panel=PANEL)(status)
    command(app, "explain", panel=PANEL)(explain)
    command(app, "list", panel=PANEL)(list_jobs)
    command(app, "graphs", panel=PANEL)(graphs)
    command(app, "graph", panel=PANEL)(graph)
    command(app, "workers", panel="Processes")(workers)


async def status(
    run: Invocation,
    jobs: arguments.SomeJobs,
    dependencies: Annotated[
        bool, typer.Option("--dependencies", help="And the jobs that they depend on.")
    ] = False,
    args: Annotated[bool, typer.Option("--args", help="With the args.")] = False,
) -> None:
    """Show where jobs stand."""
    async with run.queue() as queue, no_graphs(queue, "give it alone"):
        targets = await find_targets(run, queue, jobs, None)
        if targets.graph is not None:
            run.output.graph(*await _whole_graph(queue, targets.graph), fold=True)
            return
        found = await queue.job_statuses(targets.jobs, dependencies=dependencies, args=args)
        run.output.statuses(found, await related_jobs(run, queue, found))


async def explain(
    run: Invocation,
    job: Annotated[
        str, typer.Argument(metavar="JOB", help="An id, last or last/NAME.", show_default=False)
    ],
) -> None:
    """Say why a job is not running, or why it ended as it did."""
    async with run.queue() as queue, no_graphs(queue, "name a job of it as GRAPH/NAME"):
        found = await find_job(run, queue, job)
        explanation = await queue.explain(found)
        copy = None
        if explanation.state.is_final and explanation.state is not State.FINISHED:
            copy = (await queue.job_statuses([found], result=False))[0].retried_as
        run.output.explained(explanation, copy)


async def list_jobs(
    run: Invocation,
    *,
    states: Annotated[
        list[State] | None,
        typer.Option("--state", metavar="STATE", help="Only in this state; may be repeated."),
    ] = None,
    job_type: Annotated[
        str | None,
        typer.Option(
            "--type", metavar="TYPE", help="Only of this type.", parser=arguments.job_type
        ),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only of this channel.", parser=arguments.channel),
    ] = None,
    graph: Annotated[
        str | None, typer.Option(metavar="GRAPH", help="Only of this graph (id or last).")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only with this name.", parser=arguments.label),
    ] = None,
    limit: LimitOption = 50,
    before: BeforeOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """List jobs, newest first."""
    wanted: dict[str, Any] = {
        "states": tuple(states or ()),
        "type": job_type,
        "channel": channel,
        "graph": find_graph(run, graph) if graph else None,
        "name": name,
    }
    async with run.queue() as queue:
        if everything:
            run.output.listed(await _all_pages(queue, wanted, before))
        else:
            run.output.listed(await queue.list(**wanted, limit=limit, before=before))


async def _all_pages(queue: JobQueue, wanted: dict[str, Any], before: int | None) -> JobPage:
    from broker_queue.status import JobPage  # slow to import

    jobs: list[JobStatus] = []
    while True:
        page = await queue.list(**wanted, limit=1_000, before=before)
        jobs += page.jobs
        before = page.next
        if before is None:
            return JobPage(jobs)


async def graphs(
    run: Invocation,
    limit: LimitOption = 20,
    before: BeforeOption = None,
) -> None:
    """List graphs, newest first."""
    async with run.queue() as queue:
        run.output.graphs(await queue.graphs(limit=limit, before=before))


async def graph(
    run: Invocation,
    graph_id: Annotated[
        str, typer.Argument(metavar="GRAPH", help="Its id, or last.", show_default=False)
    ] = "last",
    drawing: Annotated[
        Drawing,
        typer.Option("--format", metavar="FORMAT", help="tree, dot (for Graphviz) or mermaid."),
    ] = Drawing.TREE,
    everything: Annotated[
        bool, typer.Option("--all", help="Every job, however many look alike.")
    ] = False,
) -> None:
    """Draw a graph with the states of its jobs."""
    found = find_graph(run, graph_id)
    async with run.queue() as queue:
        status, jobs = await _whole_graph(queue, found)
    if drawing is Drawing.TREE:
        run.output.graph(status, jobs, fold=not everything)
        return
    from broker_queue.cli import drawing as draw  # only here
    from broker_queue.cli.tables import nodes_of

    nodes = nodes_of(jobs)
    named = status.name or status.id
    run.output.text(draw.dot(nodes, named) if drawing is Drawing.DOT else draw.mermaid(nodes))


async def _whole_graph(queue: JobQueue, graph_id: Any) -> tuple[Any, list[JobStatus]]:
    status = await queue.graph(graph_id)
    jobs = [job async for job in jobs_of_graph(queue, graph_id, dependencies=True)]
    return status, jobs[::-1]


async def workers(run: Invocation) -> None:
    """List the workers that said hello."""
    async with run.queue() as queue:
        run.output.workers(await queue.workers())
