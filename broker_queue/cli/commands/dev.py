"""``dev``: a broker and a scheduler of one's own until Ctrl-C, for trying things out."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from broker_queue.address import DEFAULT_NAMESPACE, NAMESPACE_VARIABLE, URL_VARIABLE
from broker_queue.cli.commands.processes import PANEL, scheduler_command
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.invocation import Invocation, command
from broker_queue.errors import BrokerQueueError, Unavailable

if TYPE_CHECKING:
    from broker_queue.local_broker.finding import Broker

READY_TIMEOUT = 60.0
"""Seconds until the scheduler must answer; it migrates its database first."""

PAUSE = 0.1
STOP_TIMEOUT = 20.0
"""Seconds for the scheduler to commit and answer what it has taken in."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "dev", panel=PANEL)(dev)


def dev(
    run: Invocation,
    folder: Annotated[
        Path,
        typer.Option(
            "--folder", metavar="FOLDER", help="Keeps the database and the broker's data."
        ),
    ] = Path(".broker-queue"),
    management: Annotated[
        bool, typer.Option("--management/--no-management", help="With RabbitMQ's management page.")
    ] = True,
) -> ExitCode:
    """Run a private broker and a scheduler until Ctrl-C.

    For trying things out: jobs are kept in the folder. With --url (or BROKER_QUEUE_URL) it uses
    that broker and starts a scheduler only.
    """
    from broker_queue.local_broker.finding import find_broker  # starts processes: only here

    if run.given.url:
        os.environ[URL_VARIABLE] = run.given.url
    folder = _prepare(folder)
    signal.signal(signal.SIGTERM, _interrupt)
    data = folder / "rabbitmq"
    data.mkdir(exist_ok=True)
    with find_broker(folder=data, management=management, progress=run.output.note) as broker:
        database = folder / "broker-queue.sqlite3"
        with _scheduler(run, broker.url, database) as process:
            _await_ready(run, broker.url, process)
            _tell(run, broker, database)
            try:
                code = process.wait()
            except KeyboardInterrupt:
                run.output.note("Stopping; jobs are kept.")
                return ExitCode.OK
    raise BrokerQueueError(f"the scheduler stopped with exit code {code}; its log says why")


def _prepare(folder: Path) -> Path:
    """Return the folder as an absolute path; it hides itself from git."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return folder.absolute()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _scheduler(run: Invocation, url: str, database: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a scheduler that ends with us; Ctrl-C does not reach it before the clients."""
    from broker_queue.local_broker.guard import guarded

    level = "info" if run.debug else "warning"
    arguments = scheduler_command(
        "--database", str(database), "--log-level", level, url=url, namespace=run.namespace
    )
    process = subprocess.Popen(guarded(arguments), stdin=subprocess.DEVNULL)  # noqa: S603  # ours
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(run: Invocation, url: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the scheduler answers.

    Raises:
        BrokerQueueError: it stopped.
        Unavailable: it does not answer in time.
    """
    import asyncio

    from broker_queue.client import JobQueue

    async def ask() -> None:
        async with JobQueue(url, namespace=run.namespace, timeout=2.0, name="dev") as queue:
            while process.poll() is None:
                try:
                    await queue.info()
                    return
                except Unavailable:
                    await asyncio.sleep(PAUSE)
        raise BrokerQueueError("the scheduler did not start; its log says why")

    try:
        asyncio.run(asyncio.wait_for(ask(), READY_TIMEOUT))
    except TimeoutError:
        raise Unavailable(f"the scheduler did not answer within {READY_TIMEOUT:g} s") from None


def _tell(run: Invocation, broker: Broker, database: Path) -> None:
    facts = {"url": broker.url}
    if broker.management_url:
        facts["management"] = broker.management_url
    facts |= {"database": str(database), "namespace": run.namespace}
    run.output.facts(facts)
    lines = [
        f"\nThis is {broker.description}. In another terminal:\n",
        f"  export {URL_VARIABLE}={broker.url}",
    ]
    if run.namespace != DEFAULT_NAMESPACE:
        lines.append(f"  export {NAMESPACE_VARIABLE}={run.namespace}")
    lines += [
        "  broker-queue worker MODULE:WORKER",
        '  broker-queue enqueue TYPE \'{"some": "args"}\'',
        "\nCtrl-C stops everything; jobs are kept.",
    ]
    if broker.management_url:
        lines.append("The management page wants user and password guest.")
    run.output.note("\n".join(lines))
