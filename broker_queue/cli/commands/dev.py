"""``dev``: a broker and a scheduler of one's own until Ctrl-C, for trying things out."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from broker_queue.address import DEFAULT_NAMESPACE, NAMESPACE_VARIABLE, URL_VARIABLE
from broker_queue.cli.arguments import given_text
from broker_queue.cli.commands.processes import PANEL, scheduler_command
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.invocation import Invocation, command, without_password
from broker_queue.errors import BrokerQueueError, ConfigurationError, Unavailable

if TYPE_CHECKING:
    from broker_queue.local_broker.claim import Tell
    from broker_queue.local_broker.finding import Broker

READY_TIMEOUT = 60.0
"""Seconds until the scheduler must answer; it migrates its database first."""

DATA = "rabbitmq"
"""Where in its folder the private broker keeps its data."""

PAUSE = 0.1
STOP_TIMEOUT = 20.0
"""Seconds for the scheduler to commit and answer what it has taken in."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    command(app, "dev", panel=PANEL)(dev)


def dev(
    run: Invocation,
    folder: Annotated[
        str,
        typer.Option(
            "--folder",
            metavar="FOLDER",
            help="Keeps the database and the broker's data.",
            parser=given_text,
        ),
    ] = ".broker-queue",
    management: Annotated[
        bool, typer.Option("--management/--no-management", help="With RabbitMQ's management page.")
    ] = True,
) -> ExitCode:
    """Run a private broker and a scheduler until Ctrl-C.

    For trying things out: jobs are kept in the folder. With --url (or BROKER_QUEUE_URL) it uses
    that broker and starts a scheduler only.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    place = _prepare(Path(folder))
    with _claimed(place) as tell:
        return _serve(run, place, management=management, tell=tell)


def _serve(run: Invocation, folder: Path, *, management: bool, tell: Tell) -> ExitCode:
    from broker_queue.local_broker.finding import find_broker  # starts processes: only here

    given, database = run.given.url, folder / "broker-queue.sqlite3"
    data, progress = folder / DATA, run.output.note
    with (
        find_broker(url=given, folder=data, management=management, progress=progress) as broker,
        _scheduler(run, broker.url, database) as process,
    ):
        tell(url=without_password(broker.url))
        _await_ready(run, broker.url, process)
        _tell(run, broker, database)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            run.output.note("Stopping; jobs are kept.")
            return ExitCode.OK
    raise _ended(code, f"the scheduler stopped with exit code {code}; its log says why")


def _prepare(folder: Path) -> Path:
    """Return the folder as an absolute path; one that is made here hides itself from git.

    Raises:
        ConfigurationError: it cannot be made or written to.
    """
    from broker_queue.local_broker.claim import LOCK_NAME

    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / ".gitignore").write_text("*\n")
        (folder / DATA).mkdir(exist_ok=True)
        (folder / LOCK_NAME).touch()
    except OSError as error:
        raise ConfigurationError(f"cannot work in {folder}: {error.strerror or error}") from None
    return folder.absolute()


@contextmanager
def _claimed(folder: Path) -> Iterator[Tell]:
    """Hold the folder for the length of the block.

    Raises:
        ConfigurationError: another ``dev`` runs on it.
    """
    from broker_queue.local_broker.claim import Claimed, claim

    try:
        with claim(folder) as tell:
            yield tell
    except Claimed as claimed:
        pid, url = (claimed.holder.get(name, "not known yet") for name in ("pid", "url"))
        raise ConfigurationError(
            f"dev already runs here: pid {pid}, URL {url}; use that, or give another --folder"
        ) from None


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
        raise _ended(process.returncode, "the scheduler did not start; its log says why")

    try:
        asyncio.run(asyncio.wait_for(ask(), READY_TIMEOUT))
    except TimeoutError:
        raise Unavailable(f"the scheduler did not answer within {READY_TIMEOUT:g} s") from None


def _ended(code: int, text: str) -> BrokerQueueError:
    """Return the error for a scheduler that ended by itself, which says 2 of wrong settings."""
    return ConfigurationError(text) if code == ExitCode.INVALID else BrokerQueueError(text)


def _tell(run: Invocation, broker: Broker, database: Path) -> None:
    facts = {"url": broker.url}
    if broker.management_url:
        facts["management"] = broker.management_url
    facts |= {"database": str(database), "namespace": run.namespace}
    run.output.facts(facts)
    lines = [
        f"\nThis is {broker.description}.",
        "In another terminal:\n",
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
