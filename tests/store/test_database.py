"""Opening, migrating, and what a reader may not do."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select, text

from broker_queue.errors import ConfigurationError
from scheduler.store.database import Database, DatabaseDown, migrate
from scheduler.store.statements import is_one_of, key_list
from scheduler.store.tables import metadata, queue
from scheduler.store.writer import Reader, Writer


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    engine = Database(str(tmp_path / "new.sqlite3")).writer_engine()
    migrate(engine)
    migrate(engine)  # a second time changes nothing
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        sql = connection.execute(text("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
        migrated = {row.name: _normal(row.sql) for row in sql if row.name != "alembic_version"}
    engine.dispose()
    other = Database(str(tmp_path / "other.sqlite3")).writer_engine()
    metadata.create_all(other)
    with other.connect() as connection:
        sql = connection.execute(text("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
        assert migrated == {row.name: _normal(row.sql) for row in sql}
    other.dispose()


def test_a_commit_is_on_disk_and_readers_see_it(tmp_path: Path) -> None:
    engine = Database(str(tmp_path / "new.sqlite3")).writer_engine()
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    engine.dispose()


def test_a_database_of_a_later_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    engine = Database(str(tmp_path / "new.sqlite3")).writer_engine()
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer than this program; install"):
        migrate(engine)
    engine.dispose()


@pytest.mark.parametrize(
    "location", ["postgresql://localhost/x", "sqlite://", "://", "sqlite:///:memory:"]
)
def test_a_location_that_cannot_work_is_refused(location: str) -> None:
    with pytest.raises(ConfigurationError):
        Database(location)


async def test_a_reader_sees_commits_and_cannot_write(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "new.sqlite3"))
    writer, reader = Writer(database), Reader(database, 1, on_damage=lambda _: None)
    await writer.prepare()

    def add(connection: Connection) -> None:
        connection.execute(insert(queue).values(type="a", channel=""))

    await writer.unfenced_transaction(add)
    assert await reader.read(lambda c: c.execute(select(queue.c.type)).scalar_one()) == "a"
    with pytest.raises(DatabaseDown, match="readonly"):
        await reader.read(add)
    await reader.close()
    await writer.close()


def test_many_keys_are_one_parameter(tmp_path: Path) -> None:
    engine = Database(str(tmp_path / "new.sqlite3")).writer_engine()
    metadata.create_all(engine)
    statement = select(queue.c.key).where(is_one_of(queue.c.key, "keys"))
    with engine.begin() as connection:
        connection.execute(insert(queue), [{"type": f"t{n}", "channel": ""} for n in range(5)])
        keys = key_list(range(2, 100_000))
        assert connection.execute(statement, {"keys": keys}).scalars().all() == [2, 3, 4, 5]
        assert connection.execute(statement, {"keys": key_list([])}).scalars().all() == []
    engine.dispose()


def _normal(sql: str) -> list[str]:
    """The parts of a statement, in any order: constraints may come before or after columns."""
    words = " ".join(sql.replace('"', "").split())
    head, _, rest = words.partition("(")
    body, _, tail = rest.rpartition(")")
    return [head.strip(), *sorted(part.strip() for part in body.split(", ")), tail.strip()]
