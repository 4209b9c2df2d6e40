"""Disk full, locked, read-only: work waits and goes on by itself. Damaged: a clear end."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker_queue.client import JobQueue
from broker_queue.requests import REQUESTS_KEY
from scheduler import loop, work
from scheduler.store import database as databases
from tests.support.databases import damage_all, damage_table
from tests.support.ends import finish
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler, SchedulerProcess
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, until

IN_TROUBLE = "nothing is acknowledged until the database works"


def asking(pragma: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have SQLite itself refuse: set a pragma of the writing connection in each transaction."""
    apply = work.apply

    def applied(connection: Any, *args: Any) -> Any:
        connection.exec_driver_sql(f"PRAGMA {pragma()}")
        try:
            return apply(connection, *args)
        finally:  # or it could not even begin the next one
            connection.exec_driver_sql("PRAGMA query_only = OFF")

    monkeypatch.setattr(work, "apply", applied)


async def cancel(raw: RawClient, job: str) -> None:
    """Ask for it without waiting for an answer."""
    body = json.dumps({"jobs": [job]}).encode()
    await raw.publish(raw.names.requests, REQUESTS_KEY, body, type="cancel")


def told(caplog: pytest.LogCaptureFixture, text: str) -> Callable[[], Awaitable[bool]]:
    """Return the condition that the log has `text`."""

    async def is_told() -> bool:
        return text in caplog.text

    return is_told


def forget(database: Path) -> None:
    """Remove the file: what cleans up after tests asks it for the names of queues."""
    database.unlink()


@pytest.mark.parametrize(
    ("bad", "good", "text"),
    [
        ("max_page_count = 1", "max_page_count = 1073741823", "has no room"),
        ("query_only = ON", "query_only = OFF", "cannot be written"),
    ],
    ids=["full", "read-only"],
)
async def test_work_goes_on_by_itself_once_the_database_can_be_written_again(
    raw: RawClient,
    queue: JobQueue,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bad: str,
    good: str,
    text: str,
) -> None:
    monkeypatch.setattr(loop, "DATABASE_PAUSE", 0.05)
    caplog.set_level("INFO")
    before = await queue.enqueue("before")
    setting, tries = good, 0

    def pragma() -> str:
        nonlocal tries
        tries += setting == bad
        return setting

    asking(pragma, monkeypatch)
    taken = await raw.take("before")
    setting = bad
    large = b'"' + b"x" * 500_000 + b'"'
    await raw.tell("finished", taken.correlation_id, large)

    async def tried_often() -> bool:
        return tries > 3

    await until(tried_often)
    assert (await queue.job_status(before)).result is None  # read meanwhile
    [error] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert f"{IN_TROUBLE}: the database {database} {text}" in error
    setting = good
    [status] = await queue.wait([before], timeout=PATIENCE)
    assert len(status.result or "") == 500_000
    await until(told(caplog, "the database works again"))


async def test_reads_are_answered_and_writes_wait_while_another_process_holds_the_lock(
    raw: RawClient,
    queue: JobQueue,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(loop, "DATABASE_PAUSE", 0.05)
    caplog.set_level("INFO")
    asking(lambda: "busy_timeout = 10", monkeypatch)
    known = await queue.enqueue("a")
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await cancel(raw, known)
        assert (await queue.job_status(known)).canceled is False
        await until(told(caplog, IN_TROUBLE))
        other.execute("ROLLBACK")
    [status] = await queue.wait([known], timeout=PATIENCE)
    assert status.canceled
    await until(told(caplog, "the database works again"))
    [error] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert f"{database} is locked by another process (SQLITE_BUSY" in error
    assert "work goes on by itself" in error


async def test_a_damaged_database_ends_the_scheduler_with_one_line(
    broker_url: str, namespace: str, database: Path
) -> None:
    async with (
        RunningScheduler(url=broker_url, namespace=namespace, database=database),
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        await queue.enqueue("a")
    damage_all(database)
    process = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
    await process.start(wait=False)
    assert process.process is not None
    assert await process.process.wait() == 2
    _, log = await process.terminate()
    assert f"{database} is damaged" in log
    assert "restore a backup" in log
    assert "Traceback" not in log
    forget(database)


async def test_damage_that_a_reader_alone_meets_ends_the_scheduler_with_one_line(
    broker_url: str, namespace: str, database: Path
) -> None:
    async with (
        RunningScheduler(url=broker_url, namespace=namespace, database=database),
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        RawClient(broker_url, namespace) as raw,
    ):
        job = await queue.enqueue("a")
        assert await finish(raw, "a") == job
    damage_table(database, "outcome")
    process = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
    await process.start()
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        await queue.enqueue("a")  # the writer does not care
        asking = asyncio.create_task(queue.result(job))
        code, log = await process.ended()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert code == 2
    [error] = [line for line in log.splitlines() if '"error"' in line]
    assert f"{database} is damaged (SQLITE_CORRUPT" in error
    assert "restore a backup" in error
    assert "Traceback" not in log


async def test_damage_while_it_runs_parks_nothing_and_ends_it(
    raw: RawClient, queue: JobQueue, scheduler: RunningScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = databases.DatabaseDown("the database is damaged", databases.Trouble.DAMAGED)

    def fail(*_: Any) -> None:
        raise damaged

    job = await queue.enqueue("a")
    monkeypatch.setattr(work, "apply", fail)
    await cancel(raw, job)

    async def ended() -> bool:
        return scheduler.error is not None

    await until(ended)
    assert scheduler.error is damaged
    scheduler.error = None
    assert await raw.count(raw.names.parked) == 0
    assert await raw.count(raw.names.requests) == 1


async def test_a_folder_that_is_not_there_is_named_and_not_made(
    broker_url: str, namespace: str, tmp_path: Path
) -> None:
    missing = tmp_path / "not-mounted" / "jobs.sqlite3"
    process = SchedulerProcess(url=broker_url, namespace=namespace, database=missing)
    await process.start(wait=False)
    async with asyncio.timeout(PATIENCE):
        code, log = await process.ended()
    assert code == 2
    assert f"{missing} cannot be opened" in log
    assert "check the path, the mode and the mount of its folder" in log
    assert not missing.parent.exists()
