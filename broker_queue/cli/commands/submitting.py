"""``enqueue`` and ``submit``: making jobs and graphs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker_queue.cli.durations import parse_duration
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.invocation import Invocation, command
from broker_queue.cli.refusals import jobs_by_name, no_graphs
from broker_queue.cli.remembered import remember
from broker_queue.cli.targets import Targets, find_jobs
from broker_queue.errors import ConfigurationError, Invalid
from broker_queue.job import Condition

if TYPE_CHECKING:
    from broker_queue.client import JobQueue
    from broker_queue.graph import Edge, Graph
    from broker_queue.protocol.codec import RawJson

PANEL = "Make jobs"
STANDARD_INPUT = "-"


def seconds(text: str | None) -> float | None:
    """Return the seconds of a duration given on the command line.

    Raises:
        typer.BadParameter: it is no duration.
    """
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "enqueue", panel=PANEL)(enqueue)
    command(app, "submit", panel=PANEL)(submit)


async def enqueue(
    run: Invocation,
    *,
    job_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="Type of the job.", show_default=False)
    ],
    args: Annotated[
        str,
        typer.Argument(
            metavar="[ARGS]", help="JSON, @FILE, or - for standard input.", show_default=False
        ),
    ] = "null",
    after: Annotated[
        list[str] | None,
        typer.Option(metavar="JOB", help="Run after this job finished.", show_default=False),
    ] = None,
    after_failure: Annotated[
        list[str] | None,
        typer.Option(metavar="JOB", help="Run only if this job failed.", show_default=False),
    ] = None,
    after_any: Annotated[
        list[str] | None,
        typer.Option(metavar="JOB", help="Run when this job ended, however.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="A name for people.")] = None,
    channel: Annotated[
        str, typer.Option(metavar="NAME", help="Keeps tenants apart.", show_default=False)
    ] = "",
    priority: Annotated[
        int, typer.Option(metavar="N", help="0 (last) to 9 (first).", min=0, max=9)
    ] = 4,
    max_attempts: Annotated[
        int, typer.Option(metavar="N", help="Runs in all, if it fails.", min=1, max=1000)
    ] = 1,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Longest run, such as 90 or 10m.")
    ] = None,
    delay: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Do not run before this has passed.")
    ] = None,
    job_id: Annotated[
        str | None,
        typer.Option("--id", metavar="UUID", help="Its id; the same job again changes nothing."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
) -> ExitCode:
    """Enqueue one job and print its id.

    Args is any JSON: broker-queue enqueue build '{"level": 3}' --after last
    """
    given: dict[str, Any] = {
        "id": job_id,
        "name": name,
        "channel": channel,
        "priority": priority,
        "max_attempts": max_attempts,
        "timeout": seconds(timeout),
        "delay": seconds(delay),
    }
    body = read_args(args)
    words = (
        (after, Condition.SUCCESS),
        (after_failure, Condition.FAILURE),
        (after_any, Condition.ANY),
    )
    async with run.queue() as queue, no_graphs(queue, "name a job of it as GRAPH/NAME"):
        edges = [
            edge
            for jobs, condition in words
            for edge in await _edges(run, queue, jobs or [], condition)
        ]
        job = await queue.enqueue(job_type, body, edges, **given)
        remember(run.place, "job", job)
        if wait:
            from broker_queue.cli.waiting import finish  # asyncio is slow to import

            return await finish(run, queue, Targets(jobs=(job,)), None)
    run.output.enqueued(job)
    return ExitCode.OK


async def _edges(
    run: Invocation, queue: JobQueue, words: list[str], condition: Condition
) -> list[Edge]:
    from broker_queue.graph import Edge  # slow to import

    return [Edge(job, condition) for job in await find_jobs(run, queue, words)]


def read_args(text: str) -> RawJson:
    """Return the JSON text of args given as JSON, ``@FILE`` or ``-``.

    Raises:
        Invalid: it is no JSON.
        ConfigurationError: the file cannot be read.
    """
    from broker_queue.protocol.codec import RawJson, check_json

    if text == STANDARD_INPUT:
        body, origin = sys.stdin.buffer.read(), "standard input"
    elif text.startswith("@"):
        body, origin = read_file(text[1:]), text[1:]
    else:
        body, origin = text.encode(errors="surrogateescape"), "args"
    try:
        check_json(body, origin, sys.maxsize)
    except Invalid as error:
        hint = "" if origin != "args" else "; quote it for the shell, as in '{\"level\": 3}'"
        raise Invalid(f"{error.message}{hint}", error.details) from None
    return RawJson(body)


def read_file(path: str) -> bytes:
    """Return a file's content.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from None


async def submit(
    run: Invocation,
    *,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="YAML or JSON; - for standard input.", show_default=False
        ),
    ],
    graph_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="UUID",
            help="The graph's id; if it exists, jobs that it lacks are added.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all jobs have ended.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="The same, with progress.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and draw it; send nothing.")
    ] = False,
) -> ExitCode:
    """Submit a graph of jobs from a file and print the graph's id.

    All of its jobs exist from one moment on, or (after an error) none of them. A file with an id
    can be submitted again: jobs that the graph does not have yet are added, the others must be
    the same, or nothing is changed.
    """
    graph = load_graph(file, graph_id)
    if dry_run:
        run.output.planned(graph.jobs)
        return ExitCode.OK
    async with run.queue() as queue:
        with jobs_by_name([job.name for job in graph.jobs]):
            answer = await queue.submit(graph)
        remember(run.place, "graph", graph.id)
        if watch or wait:
            from broker_queue.cli.waiting import finish, follow

            targets = Targets(graph=graph.id)
            if watch:
                return await follow(run, queue, targets)
            return await finish(run, queue, targets, None)
    run.output.submitted(answer)
    return ExitCode.OK


def load_graph(file: str, graph_id: str | None) -> Graph:
    """Return the graph in a file.

    Raises:
        ConfigurationError: it cannot be read, or it describes no graph that can work.
    """
    from broker_queue.cli.graph_file import read_graph  # slow to import

    if file == STANDARD_INPUT:
        body, source = sys.stdin.buffer.read(), "standard input"
    else:
        body, source = read_file(file), file
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{source} is not UTF-8: {error.reason}") from None
    return read_graph(text, source, graph_id=graph_id)
