"""``conformance``: what level a worker in any language reaches, and what it does wrong."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker_queue.address import NAMESPACE_VARIABLE, URL_VARIABLE
from broker_queue.cli.arguments import job_type, positive_duration, read_as, whole_number
from broker_queue.cli.exit_codes import ExitCode, Interrupted
from broker_queue.cli.interruption import Interruption
from broker_queue.cli.invocation import Invocation, command
from broker_queue.conformance.verdict import LEVELS, Rating
from broker_queue.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from broker_queue.conformance.stage import Plan
    from broker_queue.conformance.verdict import Result

PANEL = "Processes"
PATIENCE = 5.0
START_TIMEOUT = 60.0
"""Seconds."""

MAX_PORT = 65_535

REHEARSAL_PANEL = "Jobs of another kind"


def _args(text: str) -> bytes:
    try:
        json.loads(text)
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from None
    return text.encode()


def _check_name(text: str) -> str:
    from broker_queue.conformance.rehearse import ALL  # slow to import

    if text in ALL:
        return text
    alike = [name for name in ALL if text and (text in name or name in text)]
    near = " or ".join(repr(name) for name in alike or get_close_matches(text, ALL))
    meant = f"; did you mean {near}? There are: " if near else "; there are: "
    raise ValueError(f"no check is called {text!r}{meant}{', '.join(ALL)}")


json_args = read_as(_args)
level_number = whole_number(LEVELS[0], LEVELS[-1], "a level")
port_number = whole_number(0, MAX_PORT, "a port")
check_name = read_as(_check_name)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "conformance", panel=PANEL)(conformance)


def conformance(  # noqa: PLR0917  # the options of a command
    run: Invocation,
    kind: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Job type that the worker serves; must be given.",
            parser=job_type,
            show_default=False,
        ),
    ],
    start: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="Starts the worker; without it, start one yourself with the URL that is printed.",
            show_default=False,
        ),
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(
            metavar="1|2|3",
            help="Level that it must reach; checks of higher ones are not made. "
            "[default: level 1, and all checks]",
            parser=level_number,
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHECK",
            help="Make this check only, after the first two; may be repeated.",
            parser=check_name,
            show_default=False,
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write JUnit XML too.", show_default=False),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT",
            help="Where the worker finds the broker, on 127.0.0.1. [default: any free one]",
            parser=port_number,
            show_default=False,
        ),
    ] = 0,
    patience: Annotated[
        float | None,
        typer.Option(
            metavar="DURATION",
            help="For whatever the worker does at once. [default: 5s]",
            parser=positive_duration,
            show_default=False,
        ),
    ] = None,
    start_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="DURATION",
            help="Until it takes jobs, from its start or a lost connection. [default: 1m]",
            parser=positive_duration,
            show_default=False,
        ),
    ] = None,
    args: Annotated[
        bytes | None,
        typer.Option(
            metavar="JSON",
            help="Args of a job that finishes soon; else a rehearsal job's.",
            parser=json_args,
            rich_help_panel=REHEARSAL_PANEL,
            show_default=False,
        ),
    ] = None,
    failing_args: Annotated[
        bytes | None,
        typer.Option(
            metavar="JSON",
            help="Args of a job that fails.",
            parser=json_args,
            rich_help_panel=REHEARSAL_PANEL,
            show_default=False,
        ),
    ] = None,
    slow_args: Annotated[
        bytes | None,
        typer.Option(
            metavar="JSON",
            help="Args of a job that takes some ten seconds.",
            parser=json_args,
            rich_help_panel=REHEARSAL_PANEL,
            show_default=False,
        ),
    ] = None,
    malformed_args: Annotated[
        bytes | None,
        typer.Option(
            metavar="JSON",
            help="Args that the worker does not understand.",
            parser=json_args,
            rich_help_panel=REHEARSAL_PANEL,
            show_default=False,
        ),
    ] = None,
) -> ExitCode:
    """Play the scheduler against a worker, and say what level of the protocol it reaches.

    The worker may be written in any language. It gets jobs, cancels, a lost connection and SIGTERM;
    what it says is read on the way to the broker. TYPE should be a rehearsal job, which takes
    `seconds`, fails with the text of `fail`, and else gives back its args: docs/conformance.md.

    A broker is found or started, as by dev. No scheduler may be active in the namespace.
    """
    from broker_queue.conformance.rehearsal import Rehearsal  # slow to import
    from broker_queue.conformance.stage import Plan
    from broker_queue.local_broker.finding import find_broker
    from broker_queue.programs.command import check_command

    if only and level is not None:
        raise ConfigurationError("--only names no level: leave out --level, or --only")
    if start:
        check_command(start)
    _check_file(junit)
    after = "once the worker has ended and" if start else "once"
    stopping = Interruption(lambda: run.output.note(f"stopping, {after} the queues are deleted …"))
    with stopping, find_broker(url=run.given.url, progress=run.output.note) as broker:
        plan = Plan(
            url=broker.url,
            names=run.names,
            job_type=kind,
            rehearsal=Rehearsal(args, failing_args, slow_args, malformed_args),
            command=tuple(start or ()),
            port=port,
            patience=PATIENCE if patience is None else patience,
            start_timeout=START_TIMEOUT if start_timeout is None else start_timeout,
        )
        rating = _rehearse(run, plan, only, level or LEVELS[-1], stopping)
    run.output.rated(rating)
    if junit is not None:
        _write(junit, rating)
    return ExitCode.OK if rating.reaches(level or LEVELS[0]) else ExitCode.UNHEALTHY


def _rehearse(
    run: Invocation,
    plan: Plan,
    only: list[str] | None,
    highest: int,
    stopping: Interruption,
) -> Rating:
    import asyncio
    import logging

    from broker_queue.conformance.rehearse import ALL, rehearse

    if run.debug:  # to show what the worker prints, not each frame among it
        logging.getLogger("aiormq").setLevel(logging.WARNING)

    def tell(url: str) -> None:
        if not plan.command:
            run.output.note(
                f"Start the worker, in another terminal, with\n"
                f"  export {URL_VARIABLE}={url}\n"
                f"  export {NAMESPACE_VARIABLE}={plan.names.namespace}\n"
                f"The kit waits {plan.start_timeout:g} s for it."
            )

    def echo(line: str) -> None:
        if run.debug:
            run.output.note(f"│ {line}")

    results: list[Result] = []

    def note(result: Result) -> None:
        results.append(result)
        run.output.checked(result)

    work = rehearse(
        plan,
        only=only or ALL,
        highest=highest,
        on_ready=tell,
        on_result=note,
        echo=echo,
    )
    try:
        return stopping.run(work)
    except asyncio.CancelledError:
        raise _interrupted(plan, results) from None
    except Unavailable as problem:
        if not stopping.has_come:
            raise
        raise _interrupted(plan, results, f"; {problem}") from None


def _interrupted(plan: Plan, results: list[Result], left: str = "") -> Interrupted:
    from broker_queue.cli.rating_page import counts  # slow to import

    found = counts(Rating(plan.job_type, results)) or "no check was made"
    ended = "; the worker was ended" if plan.command else ""
    return Interrupted(f"interrupted; so far: {found}{ended}{left}")


def _check_file(path: Path | None) -> None:
    """Return if the file can be written.

    Raises:
        ConfigurationError: its folder is not there, or it is one itself.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ConfigurationError(f"{path} cannot be written: its folder is not there, or it is one")


def _write(path: Path, rating: Rating) -> None:
    from broker_queue.conformance.junit import junit

    try:
        path.write_bytes(junit(rating))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
