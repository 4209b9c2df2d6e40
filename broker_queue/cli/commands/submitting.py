"""``enqueue`` and ``submit``: making jobs and graphs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker_queue.cli.arguments import (
    channel,
    duration,
    job_type,
    label,
    positive_duration,
    read_as,
    whole_number,
)
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.invocation import Invocation, command
from broker_queue.cli.limits import MAX_ATTEMPTS, MAX_PRIORITY
from broker_queue.cli.refusals import jobs_by_name, no_graphs
from broker_queue.cli.remembered import remember
from broker_queue.cli.targets import Targets, find_jobs
from broker_queue.errors import ConfigurationError, Invalid, Unavailable, perhaps_stored
from broker_queue.job import Condition, parse_graph_id, parse_job_id

if TYPE_CHECKING:
    from broker_queue.client import JobQueue
    from broker_queue.graph import Edge, Graph, JobOptions
    from broker_queue.protocol.codec import RawJson

PANEL = "Make jobs"
STANDARD_INPUT = "-"


TypeArgument = Annotated[
    str,
    typer.Argument(metavar="TYPE", help="Type of the job.", show_default=False, parser=job_type),
]
ArgsArgument = Annotated[
    str,
    typer.Argument(
        metavar="[ARGS]", help="JSON, @FILE, or - for standard input.", show_default=False
    ),
]
After = Annotated[
    list[str] | None,
    typer.Option(metavar="JOB", help="Run after this job finished.", show_default=False),
]
AfterFailure = Annotated[
    list[str] | None,
    typer.Option(metavar="JOB", help="Run only if this job failed.", show_default=False),
]
AfterAny = Annotated[
    list[str] | None,
    typer.Option(metavar="JOB", help="Run when this job ended, however.", show_default=False),
]
Name = Annotated[str | None, typer.Option(metavar="TEXT", help="A name for people.", parser=label)]
Channel = Annotated[
    str,
    typer.Option(metavar="NAME", help="Keeps tenants apart.", show_default=False, parser=channel),
]
Priority = Annotated[
    int,
    typer.Option(metavar="N", help="0 (last) to 9 (first).", parser=whole_number(0, MAX_PRIORITY)),
]
MaxAttempts = Annotated[
    int,
    typer.Option(
        metavar="N", help="Runs in all, if it fails.", parser=whole_number(1, MAX_ATTEMPTS)
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="DURATION", help="Longest run, such as 90 or 10m.", parser=positive_duration
    ),
]
Delay = Annotated[
    float | None,
    typer.Option(metavar="DURATION", help="Do not run before this has passed.", parser=duration),
]
JobIdOption = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="UUID",
        help="Its id; the same job again changes nothing.",
        parser=read_as(parse_job_id),
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "enqueue", panel=PANEL)(enqueue)
    command(app, "submit", panel=PANEL)(submit)


async def enqueue(
    run: Invocation,
    *,
    job_type: TypeArgument,
    args: ArgsArgument = "null",
    after: After = None,
    after_failure: AfterFailure = None,
    after_any: AfterAny = None,
    name: Name = None,
    channel: Channel = "",
    priority: Priority = 4,
    max_attempts: MaxAttempts = 1,
    timeout: Timeout = None,
    delay: Delay = None,
    job_id: JobIdOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
) -> ExitCode:
    """Enqueue one job and print its id.

    Args is any JSON: broker-queue enqueue build '{"level": 3}' --after last
    """
    from broker_queue.graph import new_job_id  # slow to import

    identity = job_id or new_job_id()
    options: JobOptions = {
        "id": identity,
        "name": name,
        "channel": channel,
        "priority": priority,
        "max_attempts": max_attempts,
        "timeout": timeout,
        "delay": delay,
    }
    words = {
        Condition.SUCCESS: after,
        Condition.FAILURE: after_failure,
        Condition.ANY: after_any,
    }
    body = read_args(args)
    async with run.queue() as queue, no_graphs(queue, "name a job of it as GRAPH/NAME"):
        edges = await _edges(run, queue, words)
        with _repeatable("job", identity):
            job = await queue.enqueue(job_type, body, edges, **options)
        remember(run.place, "job", job)
        if not wait:
            run.output.enqueued(job)
            return ExitCode.OK
        from broker_queue.cli.waiting import finish, going_on  # asyncio is slow to import

        run.output.note(f"Enqueued {job}; waiting until it has ended.")
        with going_on(f"job {job}", job):
            return await finish(run, queue, Targets(jobs=(job,)), None)


@contextmanager
def _repeatable(kind: str, identity: str) -> Iterator[None]:
    """Say, if nobody answers, how the command is repeated so that nothing is made twice."""
    try:
        yield
    except Unavailable as error:
        cause = error.__cause__ if isinstance(error.__cause__, Unavailable) else error
        again = f"the command with --id {identity}"
        raise perhaps_stored(cause, kind, identity, again) from error


async def _edges(
    run: Invocation, queue: JobQueue, words: Mapping[Condition, list[str] | None]
) -> list[Edge]:
    from broker_queue.graph import Edge  # slow to import

    return [
        Edge(job, condition)
        for condition, named in words.items()
        for job in await find_jobs(run, queue, named or [])
    ]


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
    if not path:
        raise ConfigurationError("the name of the file is empty")
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
            parser=read_as(parse_graph_id),
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
        names = [job.name for job in graph.jobs]
        with _repeatable("graph", graph.id), jobs_by_name(names):
            answer = await queue.submit(graph)
        remember(run.place, "graph", graph.id)
        if not (watch or wait):
            run.output.submitted(answer)
            return ExitCode.OK
        from broker_queue.cli.waiting import finish, follow, going_on

        targets = Targets(graph=graph.id)
        run.output.note(f"Submitted {graph.id}; waiting until all of its jobs have ended.")
        with going_on(f"graph {graph.id}", graph.id):
            if watch:
                return await follow(run, queue, targets)
            return await finish(run, queue, targets, None)


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
