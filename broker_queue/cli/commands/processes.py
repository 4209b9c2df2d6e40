"""``scheduler`` and ``worker``: starting the processes that do the work."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker_queue.cli.arguments import process_count, whole_number
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.help_text import Command
from broker_queue.cli.invocation import Invocation, Options, command
from broker_queue.cli.limits import MAX_CONCURRENCY
from broker_queue.errors import BrokerQueueError, ConfigurationError

if TYPE_CHECKING:
    from broker_queue.worker import Worker

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
    *,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Jobs at once.",
            parser=whole_number(1, MAX_CONCURRENCY),
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            metavar="N|auto",
            help="Processes, each with that concurrency and a connection of its own; auto: one for "
            "each CPU. [default: 1]",
            parser=process_count,
            show_default=False,
        ),
    ] = 1,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Its name in `workers`; of several, NAME-1, NAME-2, …"),
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start again when a source file changes.")
    ] = False,
) -> Coroutine[Any, Any, ExitCode] | None:
    """Run a worker until Ctrl-C.

    The module is looked for in this folder first. Running jobs are finished before it stops.
    """
    if reload:
        from broker_queue.cli.reloading import run_with_reload

        run_with_reload([part for part in sys.argv[1:] if part != "--reload"], Path.cwd())
        return None
    from broker_queue.cli.supervised import from_environment  # asyncio is slow to import

    child = from_environment()
    log_for_people(run.debug, None if child is None else child.number)
    if child is not None:
        child.listen()
        child.run(_load(run, target, concurrency, name))
    elif processes == 1:
        _load(run, target, concurrency, name).run_forever()
    else:
        from broker_queue.cli.supervisor import Supervisor

        return Supervisor(processes).run()
    return None


def _load(run: Invocation, target: str, concurrency: int | None, name: str | None) -> Worker:
    from broker_queue.loading import load_worker  # slow to import

    options = {
        "url": run.given.url,
        "namespace": run.given.namespace,
        "concurrency": concurrency,
        "name": name,
    }
    try:
        return load_worker(target, options)
    except BrokerQueueError:
        raise
    except Exception as error:  # in the user's module: the place is what they need
        print(_own_frames(error), file=sys.stderr)
        module = target.partition(":")[0]
        raise ConfigurationError(f"importing {module} failed: {error}") from None


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


def log_for_people(debug: bool, process: int | None = None) -> None:
    """Log to standard error what a person wants to know of a worker; `process` is its number."""
    level = logging.DEBUG if debug else logging.INFO
    which = "" if process is None else f"[{process}] "
    layout = f"%(asctime)s %(levelname)-7s {which}%(message)s"
    logging.basicConfig(level=level, format=layout, force=True)
    for library in ("aio_pika", "aiormq"):  # what they log of lost connections is logged by us
        logging.getLogger(library).setLevel(logging.DEBUG if debug else logging.CRITICAL)
