"""``scheduler`` and ``worker``: starting the processes that do the work."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from broker_queue.cli.help_text import Command
from broker_queue.cli.invocation import Invocation, Options, command
from broker_queue.errors import ConfigurationError

PANEL = "Processes"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(
        "scheduler",
        cls=Command,
        rich_help_panel=PANEL,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(scheduler)
    command(app, "worker", panel=PANEL)(worker)


def scheduler(ctx: typer.Context) -> None:
    """Run the scheduler; its options: broker-queue scheduler --help."""
    options = ctx.obj if isinstance(ctx.obj, Options) else Options()
    arguments = scheduler_command(*ctx.args, url=options.url, namespace=options.namespace)
    os.execv(arguments[0], arguments)  # noqa: S606  # this process becomes the scheduler


def scheduler_command(*flags: str, url: str | None, namespace: str | None) -> list[str]:
    """Return the command that starts a scheduler; ``-P``: no folder here can take its name."""
    given = [("--url", url), ("--namespace", namespace)]
    shared = [part for name, value in given if value for part in (name, value)]
    return [sys.executable, "-P", "-m", "scheduler", *shared, *flags]


def worker(
    run: Invocation,
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:ATTRIBUTE", help="The worker, such as jobs:worker.", show_default=False
        ),
    ],
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Jobs at once.", min=1, show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Its name in `workers`.")] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start again when a source file changes.")
    ] = False,
) -> None:
    """Run a worker until Ctrl-C.

    The module is looked for in this folder first. Running jobs are finished before it stops.
    """
    _ = run, target, concurrency, name, reload, Path, Any
    raise ConfigurationError("not there yet")
