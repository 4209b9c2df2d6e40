"""Copies of a database that is in use, and what becomes of jobs when one is put back."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import ConfigurationError, NotExist
from broker_queue.graph import Graph
from broker_queue.job import State
from scheduler import clock, copying
from scheduler.store import backup
from scheduler.store.backup import back_up, put_in_place
from scheduler.store.sole_use import sole_use
from tests.cli.processes import CommandLine
from tests.support.databases import PAGE, damage_table, new_database, overwrite
from tests.support.ends import finish
from tests.support.raw import RawClient
from tests.support.schedulers import (
    RunningScheduler,
    SchedulerProcess,
    wait_until_it_answers,
)
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE


@pytest.fixture
def command_line(broker_url: str, namespace: str, tmp_path: Path) -> CommandLine:
    return CommandLine(broker_url, namespace, tmp_path)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A database without jobs that nobody uses."""
    path = tmp_path / "empty.sqlite3"
    new_database(path)
    return path


def files(folder: Path) -> set[str]:
    """The files in a folder, without those that SQLite keeps beside a database that is read."""
    return {path.name.partition("-")[0] for path in folder.iterdir()}


def states(path: Path) -> dict[str, str]:
    """The state of each job in a database."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id, state FROM job").fetchall()
    return {str(UUID(bytes=identity)): state for identity, state in rows}


async def test_a_copy_of_a_live_database_has_all_that_was_confirmed_before(
    raw: RawClient,
    queue: JobQueue,
    database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = Graph()
    many = [graph.add("many", "x" * 500) for _ in range(1_000)]
    await queue.submit(graph)
    done = [await finish(raw, "many") for _ in range(10)]
    during: list[str] = []
    steps = 0
    resumed = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def work() -> None:
        during.append(await queue.enqueue("many"))
        await finish(raw, "many")
        during.append(await queue.enqueue(None))
        resumed.set()

    def on_step(path: Path) -> None:
        nonlocal steps
        steps += 1
        if steps <= 3:  # a step, then commits of the scheduler: the copy must not begin anew
            asyncio.run_coroutine_threadsafe(work(), loop).result(PATIENCE)
        sync(path)

    sync = backup.sync
    monkeypatch.setattr(backup, "PAGES", 20)
    monkeypatch.setattr(backup, "sync", on_step)  # after each step: bit by bit, not all at once
    copied = await asyncio.to_thread(back_up, database, tmp_path / "copy")
    found = states(copied.path)
    assert resumed.is_set()
    assert steps > 10
    assert copied.jobs == len(found) == 1_000
    assert set(found) == {job.id for job in many}
    assert {job for job, state in found.items() if state == State.FINISHED} == set(done)
    assert not set(during) & set(found)
    assert copied.size == copied.path.stat().st_size
    with closing(sqlite3.connect(copied.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert {state.state for state in await queue.job_statuses(during[1::2])} == {State.FINISHED}


async def test_the_command_copies_while_jobs_are_enqueued_and_finished(
    raw: RawClient, queue: JobQueue, database: Path, command_line: CommandLine
) -> None:
    before = [await queue.enqueue(None) for _ in range(20)]
    run = asyncio.create_task(
        command_line.run("backup", "copy", "--database", str(database), "--json")
    )
    while not run.done():
        await queue.enqueue("a")
        await finish(raw, "a")
    found = await run
    assert found.code == 0, found.err
    copy = command_line.folder / "copy"
    assert found.json == {
        "path": "copy",
        "bytes": copy.stat().st_size,
        "jobs": len(states(copy)),
    }
    assert set(before) <= set(states(copy))


async def test_a_copy_replaces_a_file_only_if_told_to(
    empty: Path, command_line: CommandLine
) -> None:
    command_line.environment["BROKER_QUEUE_DATABASE"] = str(empty)
    copy = command_line.folder / "copy"
    copy.write_text("precious")
    found = await command_line.run("backup", "copy")
    assert (found.code, found.err) == (2, "Error: copy exists already; --force replaces it\n")
    assert copy.read_text() == "precious"
    found = await command_line.run("backup", "copy", "--force", "--quiet")
    assert (found.code, found.out) == (0, "copy\n")
    assert states(copy) == {}


def test_what_cannot_be_copied_is_named_and_leaves_nothing_behind(
    empty: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("this is no database" * 100)
    foreign = tmp_path / "foreign"
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("CREATE TABLE a (b)")
    newer = tmp_path / "newer"
    newer.write_bytes(empty.read_bytes())
    with closing(sqlite3.connect(newer)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    there = files(tmp_path)
    for source, destination, text in (
        (tmp_path / "none", tmp_path / "copy", "there is no database .*none"),
        (other, tmp_path / "copy", "other is no database of broker-queue"),
        (foreign, tmp_path / "copy", "foreign is no database of broker-queue"),
        (newer, tmp_path / "copy", "newer than this program; install"),
        (empty, tmp_path, "is a folder"),
        (empty, tmp_path / "no" / "copy", "there is no folder"),
        (empty, empty, "is the database itself"),
        (empty, pipe, "is no ordinary file"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            back_up(source, destination)
    with pytest.raises(ConfigurationError, match="is no ordinary file"):
        back_up(empty, pipe, replace=True)
    assert files(tmp_path) == there


async def test_a_restored_copy_goes_on_and_what_came_before_changes_nothing(
    broker_url: str, namespace: str, database: Path, tmp_path: Path, command_line: CommandLine
) -> None:
    command_line.environment["BROKER_QUEUE_DATABASE"] = str(database)
    settings = {"url": broker_url, "namespace": namespace, "database": database}
    async with RawClient(broker_url, namespace) as raw:
        async with RunningScheduler(**settings), JobQueue(broker_url, namespace=namespace) as queue:
            running, handed_out = await queue.enqueue("a"), await queue.enqueue("b")
            canceled = await queue.enqueue("c")
            last = await queue.enqueue(None, dependencies=[running, handed_out])
            before = await raw.take("a")
            await raw.report("started", before.correlation_id, {"worker": "w"})
            lying = await raw.take("b")
            await lying.requeue()
            await (await raw.take("c")).requeue()
            await queue.cancel_job(canceled)
            found = await command_line.run("backup", "copy")
            assert found.code == 0, found.err
            later = await queue.enqueue(None)
            in_use = await command_line.run("restore", "copy", "--force")
            assert (in_use.code, "is in use, last by scheduler" in in_use.err) == (2, True)
            await raw.report("finished", before.correlation_id, b"1")
        assert (await command_line.run("restore", "copy")).code == 2
        found = await command_line.run("restore", "copy", "--force", "--json")
        assert found.json == {"path": str(database), "jobs": 4, "again": 2}, found.err
        async with RunningScheduler(**settings), JobQueue(broker_url, namespace=namespace) as queue:
            assert (await raw.report("finished", before.correlation_id, b"9")).type == "not_exist"
            await before.acknowledge()
            with pytest.raises(NotExist):
                await queue.job_status(later)
            again = await raw.take("a")
            assert again.message_id == running
            assert again.correlation_id != before.correlation_id
            assert (await raw.report("finished", again.correlation_id, b"2")).type == "accepted"
            old = await raw.take("b")
            assert (await raw.report("started", old.correlation_id, {})).type == "not_exist"
            await old.acknowledge()
            new = await raw.take("b")
            assert (await raw.report("finished", new.correlation_id, b"3")).type == "accepted"
            assert (await queue.wait(last, timeout=PATIENCE)).state is State.FINISHED
            assert (await queue.result(running), await queue.result(handed_out)) == (2, 3)
            assert (await queue.job_status(canceled)).state is State.CANCELED
            info = await queue.info()
            assert {each.handed_out for each in info.queues} == {0}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: damage_table(path, "job"),
        lambda path: damage_table(path, "part"),
        lambda path: overwrite(path, 100, PAGE - 100),
        lambda path: os.truncate(path, path.stat().st_size // 2),
    ],
    ids=["jobs", "something else", "the schema", "the end is missing"],
)
def test_what_is_damaged_is_neither_copied_nor_restored(
    empty: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
) -> None:
    damage(empty)
    there = files(tmp_path)
    for command in ("backup", "restore"):
        source, target = str(empty), str(tmp_path / "target")
        file, database = (target, source) if command == "backup" else (source, target)
        assert copying.main([command, file, "--database", database]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"the database {empty} is damaged: ")
        assert files(tmp_path) == there


async def test_a_large_database_is_copied_in_little_memory_while_its_scheduler_goes_on(
    broker_url: str, namespace: str, database: Path, tmp_path: Path
) -> None:
    new_database(database, megabytes=200)
    copy = tmp_path / "copy"
    bounded = [
        "sh",
        "-c",
        'ulimit -d 150000; exec "$@"',
        "sh",
    ]  # KiB; the program alone takes 60,000
    backup_command = [sys.executable, "-m", "scheduler.copying", "backup", str(copy)]
    process = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
    await process.start()
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        before = [await queue.enqueue(None) for _ in range(10)]
        backing_up = await asyncio.create_subprocess_exec(
            *bounded, *backup_command, "--database", str(database)
        )
        ended = asyncio.create_task(backing_up.wait())
        during = []
        while not ended.done():
            during.append(await queue.enqueue(None))
        assert await ended == 0
    assert (await process.terminate())[0] == 0
    assert copy.stat().st_size > 200 << 20
    found = set(states(copy))
    assert set(before) <= found
    assert found < {*before, *during}


async def test_a_copy_is_not_restored_under_a_standby_nor_under_anything_else(
    broker_url: str, namespace: str, database: Path, empty: Path, command_line: CommandLine
) -> None:
    """A standby has no leadership, but would go on with the file that was replaced."""
    restoring = ("restore", str(empty), "--database", str(database), "--force")
    (command_line.folder / "nonsense").write_text("nonsense" * 1_000)
    shutil.copy(empty, database)
    leadership = (1, "elsewhere:1", 1, clock.now() + 3_600_000)
    with closing(sqlite3.connect(database)) as other, other:
        other.execute("INSERT INTO leader VALUES (?, ?, ?, ?)", leadership)
        refused = await command_line.run(*restoring)
        assert (refused.code, "is in use" in refused.err) == (2, True), refused.err
    standby = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
    await standby.start(wait=False)
    await standby.says("standby: elsewhere:1 is active")
    refused = await command_line.run(*restoring)
    assert (refused.code, "standbys too" in refused.err) == (2, True), refused.err
    assert (await standby.terminate())[0] == 0
    assert (await command_line.run(*restoring)).code == 0
    shutil.copy(command_line.folder / "nonsense", database)
    assert (await command_line.run(*restoring)).code == 0
    assert states(database) == {}


async def test_a_scheduler_that_starts_while_a_copy_is_restored_waits_for_the_new_database(
    broker_url: str, namespace: str, database: Path, empty: Path
) -> None:
    shutil.copy(empty, database)
    process = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
    with sole_use(database):
        await process.start(wait=False)
        await process.says("standby: another scheduler is active")
        put_in_place(empty, database)
    await wait_until_it_answers(broker_url, namespace)
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        job = await queue.enqueue("a")
    assert (await process.terminate())[0] == 0
    assert set(states(database)) == {job}
