"""Databases for tests of the store."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, event

from scheduler.store.database import Database
from scheduler.store.tables import metadata


def quick_engine(folder: Path) -> Engine:
    """Return the writing engine of a new database that does not wait for the disk."""
    engine = Database(str(folder / "store.sqlite3")).writer_engine()

    def relax(connection: object, _record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")  # type: ignore[attr-defined]  # DB-API

    event.listen(engine, "connect", relax)
    metadata.create_all(engine)
    return engine
