"""``exec``: a worker that runs a program for each job."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from broker_queue.address import Address
from broker_queue.cli import limits
from broker_queue.cli.arguments import channel, duration, job_type, whole_number
from broker_queue.cli.commands.processes import PANEL, log_for_people
from broker_queue.cli.escaping import printable
from broker_queue.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from broker_queue.running import Job

GRACE = 30.0
"""Seconds."""

MAX_RESULT = 1 << 20

log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "exec", panel=PANEL)(execute)


def execute(
    run: Invocation,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="TYPE", help="Type of the jobs.", parser=job_type, show_default=False
        ),
    ],
    program: Annotated[
        list[str],
        typer.Argument(
            metavar="-- COMMAND",
            help="A program and its arguments, started for each of them.",
            show_default=False,
        ),
    ],
    *,
    text: Annotated[
        bool, typer.Option("--text", help="The output is the result as a string, not as JSON.")
    ] = False,
    concurrency: Annotated[
        int,
        typer.Option(
            metavar="N", help="Jobs at once.", parser=whole_number(1, limits.MAX_CONCURRENCY)
        ),
    ] = 8,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name in `workers`.", show_default=False)
    ] = None,
    channels: Annotated[
        list[str] | None,
        typer.Option(
            "--channel",
            metavar="CHANNEL",
            help="Whose jobs it takes; may be repeated. [default: jobs without one]",
            parser=channel,
            show_default=False,
        ),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            metavar="DURATION",
            help="How long running jobs may go on after SIGTERM. [default: 30s]",
            parser=duration,
            show_default=False,
        ),
    ] = None,
    max_result_bytes: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Longest result; the scheduler has a limit too.",
            parser=whole_number(1, limits.MAX_MESSAGE),
        ),
    ] = MAX_RESULT,
) -> None:
    """Run a program for each job of a type, until Ctrl-C.

    It reads the args as JSON from standard input and prints the result as JSON. Exit code 0: the
    job has finished; any other: this attempt failed, and the last lines of standard error say why.
    docs/cli.md has the exit codes, the environment, and how a program tells its progress.
    """
    from broker_queue.programs.command import check_command
    from broker_queue.programs.service import serve  # slow to import
    from broker_queue.worker import Worker

    check_command(program)
    log_for_people(run.debug)
    worker = Worker(
        run.given.url,
        namespace=run.given.namespace,
        channels=channels or ("",),
        concurrency=concurrency,
        name=name,
        grace=GRACE if grace is None else grace,
        max_result_bytes=max_result_bytes,
    )
    address = Address(run.url, run.names)
    serve(worker, kind, program, address, as_text=text, max_result=max_result_bytes, echo=_echo)


def _echo(job: Job, line: str) -> None:
    log.info("%s: %s", job.id, printable(line.replace("\t", "    ")))
