"""``wait`` and ``watch``: staying until jobs have ended."""

from __future__ import annotations

from typing import Annotated

import typer

from broker_queue.cli.arguments import GraphOption, JobsArgument, positive_duration
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.invocation import Invocation, command
from broker_queue.cli.refusals import USE_GRAPH, no_graphs
from broker_queue.cli.remembered import LAST
from broker_queue.cli.targets import find_targets

PANEL = "Follow jobs"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "wait", panel=PANEL)(wait)
    command(app, "watch", panel=PANEL)(watch)


async def wait(
    run: Invocation,
    jobs: JobsArgument = None,
    graph: GraphOption = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="DURATION",
            help="Give up after this, such as 90 or 10m.",
            parser=positive_duration,
        ),
    ] = None,
) -> ExitCode:
    """Wait until jobs have ended, and show how.

    The exit code is 0 if all finished, 1 if not (of a graph: if a job failed or was canceled),
    124 if the time is up.
    """
    from broker_queue.cli.waiting import finish  # asyncio is slow to import

    async with run.queue() as queue, no_graphs(queue, USE_GRAPH):
        return await finish(run, queue, await find_targets(run, queue, jobs or [], graph), timeout)


async def watch(
    run: Invocation,
    jobs: JobsArgument = None,
    graph: GraphOption = None,
) -> ExitCode:
    """Follow jobs and graphs until they have ended.

    Bars on a terminal, else a line for each change. Without a job: the last one made. Exit codes
    are those of wait.
    """
    from broker_queue.cli.waiting import follow

    words = jobs or ([] if graph else [LAST])
    async with run.queue() as queue, no_graphs(queue, USE_GRAPH):
        return await follow(run, queue, await find_targets(run, queue, words, graph))
