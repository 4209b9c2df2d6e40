"""``wait`` and ``watch``: staying until jobs have ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from broker_queue.cli.durations import parse_duration
from broker_queue.cli.exit_codes import ExitCode, WaitTimeout
from broker_queue.cli.invocation import Invocation, command
from broker_queue.cli.remembered import LAST
from broker_queue.cli.targets import PAGE, Targets, find_targets, jobs_of_graph
from broker_queue.cli.words import counted
from broker_queue.errors import Invalid
from broker_queue.job import FINAL_STATES, GraphId, State

if TYPE_CHECKING:
    from broker_queue.cli.output import Board
    from broker_queue.cli.tally import Tally
    from broker_queue.client import JobQueue
    from broker_queue.status import JobStatus

PANEL = "Follow jobs"
OPEN_STATES = tuple(state for state in State if state not in FINAL_STATES)
FAILURES = (State.FAILED, State.CANCELED)
"""What makes a graph a failure. A job skipped alone does not: a job that handles failures is
skipped whenever there was none."""

FAILED_SHOWN = 20
REDRAW = 0.1
"""Seconds between pictures: as smooth as a terminal over a slow line allows."""

JobsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[JOB]...", help="Ids, or last, or last/NAME.", show_default=False),
]
GraphOption = Annotated[
    str | None,
    typer.Option("--graph", metavar="GRAPH", help="All jobs of this graph (id or last)."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "wait", panel=PANEL)(wait)
    command(app, "watch", panel=PANEL)(watch)


async def wait(
    run: Invocation,
    jobs: JobsArgument = None,
    graph: GraphOption = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Give up after this, such as 90 or 10m.")
    ] = None,
) -> ExitCode:
    """Wait until jobs have ended, and show how.

    The exit code is 0 if all finished, 1 if not (of a graph: if a job failed or was canceled),
    124 if the time is up.
    """
    limit = _seconds(timeout)
    async with run.queue() as queue:
        return await finish(run, queue, await find_targets(run, queue, jobs or [], graph), limit)


async def watch(
    run: Invocation,
    jobs: JobsArgument = None,
    graph: GraphOption = None,
) -> ExitCode:
    """Follow jobs and graphs until they have ended.

    Bars on a terminal, else a line for each change. Without a job: the last one made. Exit codes
    are those of wait.
    """
    words = jobs or ([] if graph else [LAST])
    async with run.queue() as queue:
        targets = await find_targets(run, queue, words, graph)
        if targets.graph is not None:
            return await follow_graph(run, queue, targets.graph)
        title = counted(len(targets.jobs), "job")
        return _verdict(await _follow(run, queue, targets, title))


async def finish(
    run: Invocation, queue: JobQueue, targets: Targets, timeout: float | None
) -> ExitCode:
    """Wait for the targets, show how they ended, and return the exit code that says it.

    Raises:
        WaitTimeout: the time is up.
    """
    try:
        async with asyncio.timeout(timeout):
            if targets.graph is not None:
                return await _finish_graph(run, queue, targets.graph)
            ended = await queue.wait(list(targets.jobs))
    except TimeoutError:
        raise WaitTimeout(f"not all have ended within {timeout:g} s; they go on") from None
    run.output.ended(ended)
    return _verdict({job.state for job in ended})


async def follow_graph(run: Invocation, queue: JobQueue, graph: GraphId) -> ExitCode:
    """Show the progress of a graph until it has ended."""
    status = await queue.graph(graph)
    await _follow(run, queue, Targets(graph=graph), status.name or graph)
    return ExitCode.NOT_FINISHED if await _failures(queue, graph, 1) else ExitCode.OK


async def _finish_graph(run: Invocation, queue: JobQueue, graph: GraphId) -> ExitCode:
    while True:  # a running job may add jobs to its graph
        page = await queue.list(graph=graph, states=OPEN_STATES, limit=PAGE)
        if not page.jobs:
            break
        await queue.wait([job.id for job in page.jobs])
    failed = await _failures(queue, graph, FAILED_SHOWN)
    run.output.graph_ended(await queue.graph(graph), failed)
    return ExitCode.NOT_FINISHED if failed else ExitCode.OK


async def _failures(queue: JobQueue, graph: GraphId, limit: int) -> list[JobStatus]:
    """Return what makes a graph a failure: failed or canceled jobs that were not retried."""
    found: list[JobStatus] = []
    async for job in jobs_of_graph(queue, graph, states=FAILURES):
        if job.retried_as is None:
            found.append(job)
        if len(found) == limit:
            break
    return found


async def _follow(run: Invocation, queue: JobQueue, targets: Targets, title: str) -> set[State]:
    """Show events until all have ended; return the states that they ended in."""
    from broker_queue.cli.tally import Tally  # slow to import

    tally = Tally(title)
    with run.output.board() as board:
        drawing = asyncio.create_task(_redraw(board, tally))
        try:
            async for event in queue.watch(*targets.jobs, graph=targets.graph):
                tally.add(event)
                board.tell(event)
        finally:
            drawing.cancel()
            with suppress(asyncio.CancelledError):
                await drawing
        board.show(tally.snapshot(finished=True))
    return set(tally.states.values())


async def _redraw(board: Board, tally: Tally) -> None:
    while True:
        board.show(tally.snapshot())
        await asyncio.sleep(REDRAW)


def _verdict(states: set[State]) -> ExitCode:
    return ExitCode.OK if states <= {State.FINISHED} else ExitCode.NOT_FINISHED


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Invalid(f"--timeout: {error}") from None
