"""``doctor``, ``version`` and ``completion``: about the installation itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from broker_queue.cli.durations import current_time
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.invocation import Invocation, command
from broker_queue.errors import Unavailable

if TYPE_CHECKING:
    from broker_queue.amqp.connection import Session
    from broker_queue.cli.diagnosis import BrokerQueueState, Facts

PANEL = "Help"
PATIENCE = 10.0
"""Seconds for each thing asked, at most: a health check must not hang."""

PROGRAM = "broker-queue"
COMPLETION_VARIABLE = "_BROKER_QUEUE_COMPLETE"
"""Set by the shell's completion script when it asks for completions."""


class Shell(StrEnum):
    """Shells that completion is there for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "doctor", panel=PANEL)(doctor)
    command(app, "completion", panel=PANEL)(completion)
    command(app, "version", panel=PANEL)(version)


async def doctor(run: Invocation) -> ExitCode:
    """Check that everything works, and say what to do if not.

    For health checks: --quiet prints problems only. Exit code 0 if all is well, 5 if something
    cannot be reached, 6 if something else is wrong.
    """
    from broker_queue.cli.diagnosis import diagnose, health  # slow to import

    findings = diagnose(await examine(replace(run, timeout=min(run.timeout, PATIENCE))))
    run.output.findings(findings)
    return health(findings)


async def examine(run: Invocation) -> Facts:
    """Return what can be found out from here; what does not answer stays empty."""
    from broker_queue.cli.diagnosis import Facts  # slow to import

    facts = Facts(
        address=run.address,
        address_source=run.url_source,
        namespace=run.names.namespace,
        version=installed_version(),
        now=current_time(),
    )
    await _ask_broker(run, facts)
    if facts.broker is not None:
        await _ask_scheduler(run, facts)
    return facts


async def _ask_broker(run: Invocation, facts: Facts) -> None:
    from broker_queue.amqp.connection import Connection  # slow to import

    async def look(session: Session) -> None:
        facts.broker = session.server or "a broker without a name"

    connection = Connection(run.url, name="doctor", setup=look)
    try:
        await connection.start(fail_fast=True, timeout=run.timeout)
        facts.requests_queue = await _queue_state(await connection.session(), run.names.requests)
    except Unavailable as error:
        facts.broker_error = str(error)
    finally:
        await connection.close()


async def _queue_state(session: Session, queue: str) -> BrokerQueueState | None:
    """Ask the broker for a queue without declaring it; None if it is not there."""
    from broker_queue.amqp.failures import BROKER_ERRORS
    from broker_queue.cli.diagnosis import BrokerQueueState

    with suppress(*BROKER_ERRORS):
        channel = await session.open_channel(confirms=False)
        return BrokerQueueState(*await channel.look(queue))
    return None


async def _ask_scheduler(run: Invocation, facts: Facts) -> None:
    try:
        async with run.queue() as queue:
            facts.info = await queue.info()
            facts.workers = await queue.workers()
    except Unavailable as error:
        facts.info_error = str(error)


def completion(
    run: Invocation,
    shell: Annotated[
        Shell,
        typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.", show_default=False),
    ],
) -> None:
    """Print the completion script of a shell.

    Add it to the shell's start-up file: broker-queue completion bash >> ~/.bashrc
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # all there is

    run.output.text(
        get_completion_script(
            prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE, shell=shell.value
        )
    )


def version(run: Invocation) -> None:
    """Show the versions of this program, its protocol and Python."""
    import platform

    from broker_queue.protocol.names import PROTOCOL_VERSION

    run.output.facts(
        {
            "broker-queue": installed_version(),
            "protocol": str(PROTOCOL_VERSION),
            "python": platform.python_version(),
        }
    )


def installed_version() -> str:
    """Return the version of this package."""
    from importlib import metadata  # slow to import

    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        return "not installed"
