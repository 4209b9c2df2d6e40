"""``cancel`` and ``retry``: changing what becomes of jobs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.invocation import Invocation, command
from broker_queue.cli.targets import find_targets
from broker_queue.errors import Invalid

if TYPE_CHECKING:
    from broker_queue.overview import GraphStatus

PANEL = "Change jobs"

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
    from broker_queue.protocol.messages import CanceledJobs  # slow to import

    async with run.queue() as queue:
        targets = await find_targets(run, queue, jobs or [], graph)
        if targets.graph is not None:
            status = await queue.graph(targets.graph)
            if not yes and not _confirmed(run, status):
                run.output.note("Nothing was canceled.")
                return ExitCode.OK
            run.output.canceled(await queue.cancel_graph(targets.graph, reason=reason))
            return ExitCode.OK
        canceled = running = final = 0
        for job in targets.jobs:
            answer = await queue.cancel_job(job, dependents=dependents, reason=reason)
            canceled += answer.canceled
            running += answer.running
            final += answer.already_final
    run.output.canceled(CanceledJobs(canceled=canceled, running=running, already_final=final))
    return ExitCode.OK


def _confirmed(run: Invocation, graph: GraphStatus) -> bool:
    """Ask on a terminal; a script that did not say ``--yes`` is told to."""
    from broker_queue.cli.output import Format  # slow to import

    open_jobs = sum(count.jobs for count in graph.counts if not count.state.is_final)
    if run.format is not Format.TABLE or not sys.stdin.isatty():
        raise Invalid(f"this cancels {open_jobs:,} jobs; say --yes")
    named = graph.name or graph.id
    return typer.confirm(f"Cancel {open_jobs:,} jobs of graph {named}?", err=True)


async def retry(run: Invocation, jobs: JobsArgument = None, graph: GraphOption = None) -> None:
    """Run what failed once more, as copies.

    Failed and canceled jobs and what was skipped because of them; what finished does not run
    again. Prints each job with its copy.
    """
    async with run.queue() as queue:
        targets = await find_targets(run, queue, jobs or [], graph)
        if targets.graph is not None:
            run.output.retried(await queue.retry_graph(targets.graph))
        else:
            run.output.retried(await queue.retry(*targets.jobs))
