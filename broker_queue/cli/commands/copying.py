"""``backup`` and ``restore``: copying the database of a scheduler on this machine; no broker is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Annotated, Any

import typer

from broker_queue.cli.arguments import given_text
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.invocation import Invocation, command
from broker_queue.errors import BrokerQueueError, ConfigurationError

PANEL = "Processes"

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="PATH",
        help="The scheduler's. [env: BROKER_QUEUE_DATABASE] [default: broker-queue.sqlite3]",
        parser=given_text,
        show_default=False,
    ),
]


ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "backup", panel=PANEL)(backup)
    command(app, "restore", panel=PANEL)(restore)


def backup(
    run: Invocation,
    destination: Annotated[
        str,
        typer.Argument(metavar="FILE", help="The copy to make.", parser=given_text),
    ],
    database: DatabaseOption = None,
    force: ForceOption = False,
) -> None:
    """Copy the database while the scheduler goes on.

    The copy holds every job that was confirmed before, and is checked before it gets its name.
    """
    run.output.facts(_run("backup", destination, database, force=force))


def restore(
    run: Invocation,
    copy: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A copy that backup made.", parser=given_text),
    ],
    database: DatabaseOption = None,
    force: ForceOption = False,
) -> None:
    """Make the scheduler's database from a copy; stop the scheduler first.

    Jobs that were handed out when the copy was made stand in line again ("again"), and may run
    twice. What happened since is forgotten.
    """
    run.output.facts(_run("restore", copy, database, force=force))


def _run(operation: str, file: str, database: str | None, *, force: bool) -> dict[str, Any]:
    """Let the scheduler's own program do it: the database's format is none of a client's business.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    flags = ["--database", database] if database else []
    flags += ["--force"] if force else []
    done = subprocess.run(  # noqa: S603  # ours
        [sys.executable, "-P", "-m", "scheduler.copying", operation, *flags, "--", file],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        text = (done.stderr.splitlines() or ["it ended without a word"])[-1]
        raise (ConfigurationError if done.returncode == ExitCode.INVALID else BrokerQueueError)(
            text
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
