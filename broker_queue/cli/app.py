"""The command ``broker-queue``: its options before the command, and all of its commands."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from broker_queue.cli.arguments import positive_duration
from broker_queue.cli.commands import (
    changing,
    conformance,
    copying,
    dev,
    doctor,
    executing,
    following,
    looking,
    processes,
    submitting,
)
from broker_queue.cli.exit_codes import exit_code_table
from broker_queue.cli.help_text import Group
from broker_queue.cli.invocation import (
    CONNECTION_PANEL,
    TIMEOUT_VARIABLE,
    DebugOption,
    JsonOption,
    NamespaceOption,
    Options,
    QuietOption,
    UrlOption,
)

HELP = f"""Jobs with dependencies on RabbitMQ.

Wherever a job is wanted, `last` is the one made last, and `last/NAME` a job of the last graph.
Where `last` may be a graph, a graph's id may stand too.

\b
Exit codes:
{exit_code_table()}
"""


def make_app() -> typer.Typer:
    """Return the whole command line."""
    app = typer.Typer(
        name=doctor.PROGRAM,
        cls=Group,
        invoke_without_command=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        add_completion=doctor.COMPLETION_VARIABLE in os.environ,  # when a shell asks, not in --help
    )
    app.callback(help=HELP)(_take_options)
    for module in (
        submitting,
        looking,
        following,
        changing,
        dev,
        processes,
        executing,
        conformance,
        copying,
        doctor,
    ):
        module.register(app)
    return app


def _take_options(
    ctx: typer.Context,
    *,
    url: UrlOption = None,
    namespace: NamespaceOption = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="DURATION",
            parser=positive_duration,
            help=f"Time for one answer of the scheduler. [env: {TIMEOUT_VARIABLE}] [default: 30]",
            rich_help_panel=CONNECTION_PANEL,
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    ctx.obj = Options(
        url=url, namespace=namespace, timeout=timeout, json=json, quiet=quiet, debug=debug
    )
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
