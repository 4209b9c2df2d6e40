"""Disks that are really full, and files that really cannot be written: no error is made up here."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from broker_queue.client import JobQueue
from broker_queue.job import State
from tests.support.databases import new_database
from tests.support.disks import DISKS, READ_ONLY, Disk, ReadOnly
from tests.support.raw import RawClient
from tests.support.schedulers import SchedulerProcess, wait_until_it_answers
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE

IN_TROUBLE = "nothing is acknowledged until the database works"
Start: TypeAlias = Callable[[], Awaitable[SchedulerProcess]]
LARGE = b'"' + b"x" * 300_000 + b'"'


@pytest.fixture(params=DISKS, ids=lambda kind: kind.__name__)
async def disk(
    request: pytest.FixtureRequest, namespace: str, database: Path
) -> AsyncIterator[Disk]:
    """A disk under the database; what is left on it names the queues of the namespace."""
    async with request.param(database.parent) as made:
        yield made


@pytest.fixture
async def started(
    disk: Disk, broker_url: str, namespace: str, database: Path
) -> AsyncIterator[Start]:
    """Starts schedulers on the disk, and waits for nothing."""
    processes = []

    async def start() -> SchedulerProcess:
        process = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
        await process.start(wait=False, command=disk.command)
        processes.append(process)
        return process

    yield start
    for process in processes:
        await process.terminate()


async def run(disk: Disk, *words: str | Path) -> tuple[int | None, str, str]:
    """Run a command on the disk; return its exit code, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *disk.command, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_nothing_is_acknowledged_on_a_full_disk_and_work_goes_on_once_there_is_room(
    disk: Disk, started: Start, broker_url: str, namespace: str
) -> None:
    process = await started()
    await process.says("ready: ")
    async with (
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        RawClient(broker_url, namespace) as raw,
    ):
        job = await queue.enqueue("a")
        taken = await raw.take("a")
        disk.fill(process)
        await raw.tell("finished", taken.correlation_id, LARGE)
        await process.says(f"{IN_TROUBLE}: the database")
        await process.says(disk.says)
        assert (await queue.job_status(job)).state is State.QUEUED
        await process.kill()
        await raw.until_ready(raw.names.reports, 1)  # it comes again
        assert len(process.said(IN_TROUBLE)) == 1
        process = await started()
        await process.says(disk.says)
        disk.free(process)
        [status] = await queue.wait([job], timeout=PATIENCE)
        assert status.state is State.FINISHED
        assert len(status.result or "") == len(LARGE) - 2
    code, log = await process.terminate()
    assert code == 0, log
    assert "Traceback" not in log


async def test_a_scheduler_that_starts_on_a_full_disk_waits_for_room(
    disk: Disk, started: Start, broker_url: str, namespace: str
) -> None:
    disk.fill()
    process = await started()
    await process.says("waiting: the database")
    await process.says(disk.says)
    disk.free(process)
    await wait_until_it_answers(broker_url, namespace)
    code, log = await process.terminate()
    assert code == 0, log
    assert len(process.said("waiting: ")) == 1
    assert "Traceback" not in log


async def test_a_copy_for_which_there_is_no_room_leaves_nothing_behind(
    disk: Disk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = tmp_path_factory.mktemp("elsewhere") / "source"
    new_database(source, megabytes=2)
    copy = disk.folder / "copy"
    disk.fill(room=300_000)
    for operation in ("backup", "restore"):
        file, database = (copy, source) if operation == "backup" else (source, copy)
        words = [sys.executable, "-m", "scheduler.copying", operation, file]
        code, out, err = await run(disk, *words, "--database", database)
        assert (code, out) == (2, "")
        assert err == f"cannot write {copy}: {disk.says_of_a_copy}\n"
        _, left, _ = await run(disk, "ls", "-A", disk.folder)
        assert set(left.split()) <= {"ballast"}


@pytest.mark.parametrize("kind", READ_ONLY, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("is_made", [True, False], ids=["a database", "none yet"])
async def test_a_scheduler_that_may_never_write_ends_with_one_line(
    broker_url: str, namespace: str, database: Path, kind: type[ReadOnly], *, is_made: bool
) -> None:
    """At the start this is a mistake of the setup, which somebody has to see."""
    async with kind(database.parent) as disk:
        if is_made:
            first = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
            await first.start(command=disk.command)
            assert (await first.terminate())[0] == 0
        disk.protect()
        process = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
        await process.start(wait=False, command=disk.command)
        code, log = await process.ended()
    [line] = log.splitlines()
    assert (code, f"{database} cannot be " in line, "the mount" in line) == (2, True, True), line
