"""Waiting for jobs and graphs, silently or with a board, and the exit code that says how it went."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from broker_queue.amqp.ending import end
from broker_queue.cli.exit_codes import ExitCode, Interrupted, WaitTimeout
from broker_queue.cli.invocation import Invocation
from broker_queue.cli.tally import Tally
from broker_queue.cli.targets import FAILURES, PAGE, Targets, jobs_of_graph
from broker_queue.cli.words import counted
from broker_queue.job import FINAL_STATES, GraphId, State

if TYPE_CHECKING:
    from broker_queue.cli.output import Board
    from broker_queue.client import JobQueue
    from broker_queue.status import JobStatus

OPEN_STATES = tuple(state for state in State if state not in FINAL_STATES)
FAILED_SHOWN = 20
REDRAW = 0.1
"""Seconds between pictures: as smooth as a terminal over a slow line allows."""


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
    run.output.ended(ended, await related_jobs(run, queue, ended))
    return _verdict({job.state for job in ended})


async def related_jobs(
    run: Invocation, queue: JobQueue, jobs: Sequence[JobStatus]
) -> Sequence[JobStatus]:
    """Return the jobs whose names the page of a job shows; nothing where no page is shown."""
    from broker_queue.cli.job_page import related_to  # rich is slow to import
    from broker_queue.cli.output import Format

    if len(jobs) != 1 or run.format is not Format.TABLE:
        return []
    related = related_to(jobs[0])
    return await queue.job_statuses(related, result=False) if related else []


async def follow(run: Invocation, queue: JobQueue, targets: Targets) -> ExitCode:
    """Show the progress of the targets until they have ended, and return the exit code."""
    if targets.graph is None:
        title = counted(len(targets.jobs), "job")
        return _verdict(await _show_events(run, queue, targets, title))
    status = await queue.graph(targets.graph)
    await _show_events(run, queue, targets, status.name or targets.graph)
    return ExitCode.NOT_FINISHED if await _failures(queue, targets.graph, 1) else ExitCode.OK


@contextmanager
def going_on(what: str, identifier: str) -> Iterator[None]:
    """Say of who is interrupted here that only the waiting ends, and how to go on with it.

    Raises:
        Interrupted: with Ctrl-C.
    """
    try:
        yield
    except asyncio.CancelledError:
        raise Interrupted(f"interrupted; {what} goes on: broker-queue wait {identifier}") from None


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


async def _show_events(
    run: Invocation, queue: JobQueue, targets: Targets, title: str
) -> set[State]:
    """Show events until all have ended; return the states that they ended in."""
    tally = Tally(title)
    with run.output.board() as board:
        drawing = asyncio.create_task(_redraw(board, tally))
        try:
            async for event in queue.watch(*targets.jobs, graph=targets.graph):
                tally.add(event)
                board.tell(event)
        finally:
            await end(drawing)
        board.show(tally.snapshot(finished=True))
    return set(tally.states.values())


async def _redraw(board: Board, tally: Tally) -> None:
    while True:
        board.show(tally.snapshot())
        await asyncio.sleep(REDRAW)


def _verdict(states: set[State]) -> ExitCode:
    return ExitCode.OK if states <= {State.FINISHED} else ExitCode.NOT_FINISHED
