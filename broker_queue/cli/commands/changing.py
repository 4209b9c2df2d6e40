"""``cancel`` and ``retry``: changing what becomes of jobs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from broker_queue.cli.arguments import GraphOption, JobsArgument
from broker_queue.cli.escaping import printable
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.invocation import Invocation, command
from broker_queue.cli.refusals import USE_GRAPH, no_graphs
from broker_queue.cli.remembered import recall, remember
from broker_queue.cli.targets import FAILURES, Targets, find_targets, jobs_of_graph
from broker_queue.cli.words import counted
from broker_queue.errors import Invalid

if TYPE_CHECKING:
    from broker_queue.cli.output import RetriedPair
    from broker_queue.client import JobQueue
    from broker_queue.job import JobId
    from broker_queue.overview import GraphStatus
    from broker_queue.protocol.messages import CanceledJobs
    from broker_queue.status import JobStatus

PANEL = "Change jobs"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "cancel", panel=PANEL)(cancel)
    command(app, "retry", panel=PANEL)(retry)


async def cancel(
    run: Invocation,
    *,
    jobs: JobsArgument = None,
    graph: GraphOption = None,
    dependents: Annotated[
        bool, typer.Option("--dependents", help="And all jobs that depend on them.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Shown by status and explain.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for a graph.")] = False,
) -> ExitCode:
    """Cancel jobs: what waits never runs, what runs is told to stop.

    What has ended already stays as it is.
    """
    async with run.queue() as queue, no_graphs(queue, USE_GRAPH):
        targets = await find_targets(run, queue, jobs or [], graph)
        if targets.graph is not None:
            status = await queue.graph(targets.graph)
            if not yes and not await _confirmed(run, status):
                run.output.note("Nothing was canceled.")
                return ExitCode.OK
            run.output.canceled(await queue.cancel_graph(targets.graph, reason=reason))
            return ExitCode.OK
        run.output.canceled(await _cancel(queue, targets.jobs, dependents, reason))
    return ExitCode.OK


async def _cancel(
    queue: JobQueue, jobs: Sequence[JobId], dependents: bool, reason: str | None
) -> CanceledJobs:
    """Cancel all of them, or none if one is not there."""
    from broker_queue.protocol.messages import CanceledJobs  # slow to import

    if len(jobs) > 1:
        await queue.job_statuses(jobs, result=False)
    total = CanceledJobs(canceled=0)
    for job in jobs:
        answer = await queue.cancel_job(job, dependents=dependents, reason=reason)
        total.canceled += answer.canceled
        total.running += answer.running
        total.already_final += answer.already_final
    return total


async def _confirmed(run: Invocation, graph: GraphStatus) -> bool:
    """Ask on a terminal; a script that did not say ``--yes`` is told to."""
    from broker_queue.cli.output import Format  # slow to import

    open_jobs = sum(count.jobs for count in graph.counts if not count.state.is_final)
    if not open_jobs:
        return True
    if run.format is not Format.TABLE or not sys.stdin.isatty():
        raise Invalid(f"this cancels {counted(open_jobs, 'job')}; say --yes")
    return await _ask(
        f"Cancel {counted(open_jobs, 'job')} of graph {printable(graph.name or graph.id)}?"
    )


async def _ask(question: str) -> bool:
    """Ask on the terminal; meanwhile the connection is kept up, and Ctrl-C ends the command."""
    import asyncio  # slow to import

    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    answered, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(sys.stdin, answered.set)
    try:
        await answered.wait()
    except asyncio.CancelledError:
        print(file=sys.stderr)  # the shell's prompt begins a line of its own
        raise
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


async def retry(run: Invocation, jobs: JobsArgument = None, graph: GraphOption = None) -> None:
    """Run what failed once more, as copies.

    Failed and canceled jobs and what was skipped because of them; what finished does not run
    again. Prints each job with its copy. After the retry of one job, `last` is its copy.
    """
    async with run.queue() as queue, no_graphs(queue, USE_GRAPH):
        targets = await find_targets(run, queue, jobs or [], graph)
        before = await _retriable(queue, targets)
        copies = await (
            queue.retry(*targets.jobs)
            if targets.graph is None
            else queue.retry_graph(targets.graph)
        )
        found = await queue.job_statuses(copies.values(), result=False) if copies else []
    run.output.retried(_pairs(copies, found, before))
    if len(targets.jobs) == 1:
        _move_last(run, before[0], copies)


async def _retriable(queue: JobQueue, targets: Targets) -> list[JobStatus]:
    """Return the jobs to be retried, which know whether they have been retried before."""
    if targets.graph is None:
        return list(await queue.job_statuses(targets.jobs, result=False))
    return [job async for job in jobs_of_graph(queue, targets.graph, states=FAILURES)]


def _pairs(
    copies: Mapping[JobId, JobId], found: Sequence[JobStatus], before: Sequence[JobStatus]
) -> list[RetriedPair]:
    """Return each job with its copy; what was made now was queued in the same moment."""
    from broker_queue.cli.output import RetriedPair  # slow to import

    by_id = {job.id: job for job in found}
    made_now = {
        by_id[copies[job.id]].queued
        for job in before
        if job.retried_as is None and job.id in copies
    }
    return [
        RetriedPair(job, by_id[copy], is_new=by_id[copy].queued in made_now)
        for job, copy in copies.items()
    ]


def _move_last(run: Invocation, original: JobStatus, copies: Mapping[JobId, JobId]) -> None:
    """Let ``last`` be the copy, unless it is the graph that the copy belongs to."""
    known = recall(run.place)
    if original.id in copies and (known is None or known.id != original.graph):
        remember(run.place, "job", copies[original.id])
