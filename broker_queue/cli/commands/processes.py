"""``scheduler`` and ``worker``: starting the processes that do the work."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from broker_queue.cli.help_text import Command
from broker_queue.cli.invocation import Invocation, Options, command
from broker_queue.errors import BrokerQueueError, ConfigurationError

PANEL = "Processes"
PACKAGE = Path(__file__).parents[2]


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
    if reload:
        from broker_queue.cli.reloading import run_with_reload

        run_with_reload([part for part in sys.argv[1:] if part != "--reload"], Path.cwd())
        return
    from broker_queue.loading import load_worker  # slow to import

    _log_for_people(run.debug)
    options = {
        "url": run.given.url,
        "namespace": run.given.namespace,
        "concurrency": concurrency,
        "name": name,
    }
    try:
        found = load_worker(target, options)
    except BrokerQueueError:
        raise
    except Exception as error:  # in the user's module: the place is what they need
        print(_own_frames(error), file=sys.stderr)
        module = target.partition(":")[0]
        raise ConfigurationError(f"importing {module} failed: {error}") from None
    found.run_forever()


def _own_frames(error: Exception) -> str:
    """Return the traceback without the frames of this package and of Python's import machinery."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen importlib", str(PACKAGE)))
        and Path(frame.filename) != Path(importlib.__file__ or "")
    ]
    lines = [*traceback.format_list(frames), *traceback.format_exception_only(error)]
    return "".join(lines).rstrip()


def _log_for_people(debug: bool) -> None:
    level = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(message)s", force=True)
    for library in ("aio_pika", "aiormq"):  # what they log of lost connections is logged by us
        logging.getLogger(library).setLevel(logging.DEBUG if debug else logging.CRITICAL)
