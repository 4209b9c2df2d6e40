"""What a scheduler does with its database before it can serve; SQLite itself refuses here."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from scheduler import clock, leading
from scheduler.store import leader
from scheduler.store.database import Database, DatabaseDown, Trouble
from scheduler.store.tables import setting
from scheduler.store.writer import Writer

ENOUGH = 1_000_000


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(str(tmp_path / "leading.sqlite3"))


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Writer]:
    writer = Writer(database)
    await writer.prepare()
    yield writer
    await writer.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(leading, "STANDBY_PAUSE", 0.01)
    caplog.set_level("INFO")


def messages(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The level and the text of each line."""
    return [(each.levelname, each.getMessage()) for each in caplog.records]


async def test_what_needs_a_disk_with_room_waits_for_it_with_one_line_for_each_change(
    writer: Writer, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    pages = [1, 1, 1, ENOUGH]

    def write(connection: Connection) -> str:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages.pop(0)}")
        connection.execute(insert(setting).values(name="large", value=bytes(100_000)))
        return "written"

    async def call() -> str:
        return await writer.unfenced_transaction(write)

    assert await leading.once_possible(call, asyncio.Event()) == "written"
    [(first, waiting), (second, works)] = messages(caplog)
    assert (first, second, works) == ("ERROR", "INFO", "the database works again")
    assert f"waiting: the database {database.path} has no room (SQLITE_FULL" in waiting


async def test_one_trouble_is_told_once_though_sqlite_has_more_than_one_name_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = [
        DatabaseDown("SQLITE_IOERR_WRITE", Trouble.DISK),
        DatabaseDown("SQLITE_IOERR_FSYNC", Trouble.DISK),
        DatabaseDown("SQLITE_FULL", Trouble.FULL),
    ]

    async def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    assert await leading.once_possible(call, asyncio.Event()) == "done"
    assert messages(caplog) == [
        ("ERROR", "waiting: SQLITE_IOERR_WRITE"),
        ("ERROR", "waiting: SQLITE_FULL"),
        ("INFO", "the database works again"),
    ]


async def test_a_stop_ends_the_wait_and_damage_is_not_waited_for() -> None:
    stopped = asyncio.Event()

    async def full() -> None:
        stopped.set()
        raise DatabaseDown("", Trouble.FULL)

    async def damaged() -> None:
        raise DatabaseDown("", Trouble.DAMAGED)

    assert await leading.once_possible(full, stopped) is None
    with pytest.raises(DatabaseDown):
        await leading.once_possible(damaged, asyncio.Event())


async def test_a_standby_says_once_whom_it_waits_for_also_where_that_one_writes_for_long(
    writer: Writer,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take = partial(leader.take, holder="elsewhere:1", now=clock.now(), until=clock.now() + 60_000)
    assert await writer.unfenced_transaction(take) == 1
    await writer.unfenced_transaction(
        lambda connection: connection.exec_driver_sql("PRAGMA busy_timeout = 1") and None
    )
    stopped = asyncio.Event()
    rounds = 0
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:

        async def between_looks(_stopped: asyncio.Event) -> None:
            nonlocal rounds
            rounds += 1
            if rounds == 2:
                other.execute("BEGIN IMMEDIATE")
            elif rounds == 4:
                other.execute("ROLLBACK")
            elif rounds == 6:
                stopped.set()

        monkeypatch.setattr(leading, "_pause", between_looks)
        assert not await leading.lead(writer, database, 60_000, stopped)
    [(level, text)] = messages(caplog)
    assert (level, text) == (
        "INFO",
        f"standby: elsewhere:1 is active on {database}; taking over when it is gone",
    )
