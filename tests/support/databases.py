"""Databases for tests of the store: quick ones, large ones, damaged ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine, event

from scheduler import clock
from scheduler.store.database import Database, migrate
from scheduler.store.tables import metadata

PAGE = 4096


def quick_engine(folder: Path) -> Engine:
    """Return the writing engine of a new database that does not wait for the disk."""
    engine = Database(str(folder / "store.sqlite3")).writer_engine()

    def relax(connection: object, _record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")  # type: ignore[attr-defined]  # DB-API

    event.listen(engine, "connect", relax)
    metadata.create_all(engine)
    return engine


def new_database(path: Path, *, megabytes: int = 0) -> None:
    """Make a database that nobody uses, and that is at least that large."""
    engine = Database(str(path)).writer_engine()
    migrate(engine)
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection, connection:
        parts = [(number, clock.now()) for number in range(megabytes)]
        connection.executemany(
            "INSERT INTO part VALUES (randomblob(16), ?, 999, ?, zeroblob(1 << 20))", parts
        )


def damage_table(database: Path, table: str) -> None:
    """Overwrite the first page of one table; what reads no row of it goes on."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        [number] = connection.execute(query, [table]).fetchone()
    overwrite(database, (number - 1) * PAGE, PAGE)


def damage_all(database: Path) -> None:
    """Overwrite all pages but the first."""
    overwrite(database, PAGE, database.stat().st_size - PAGE)


def overwrite(database: Path, offset: int, length: int) -> None:
    """Put nonsense into the file."""
    with database.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * length)
