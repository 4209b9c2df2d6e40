"""Opening a database: what is SQLite's own is here and nowhere else.

The writer is one synchronous engine with one connection, used from one thread; readers are
aiosqlite connections that cannot write. Exactly one connection writes and checkpoints: SQLite
before 3.51.3 can corrupt a database in which two do (https://www.sqlite.org/wal.html, "WAL-reset
bug").
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as Connection  # for modules that must not know SQLAlchemy
from sqlalchemy import (
    Engine,
    create_engine,
    event,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from broker_queue.errors import BrokerQueueError, ConfigurationError

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).with_name("migrations")

WRITER_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",  # a commit is confirmed to clients, so it must survive a power cut
    "foreign_keys = ON",
    "busy_timeout = 10000",
    "temp_store = MEMORY",
    "journal_size_limit = 67108864",
)
READER_PRAGMAS = (
    "query_only = ON",
    "busy_timeout = 10000",
    "wal_autocheckpoint = 0",  # only the writer checkpoints
)


class Trouble(Enum):
    """What is wrong with a database, in an operator's words, and the way out."""

    LOCKED = ("is locked by another process", "end that process: work goes on by itself then")
    FULL = ("has no room", "make room on its disk: work goes on by itself then")
    DISK = (
        "cannot be read or written",
        "check the quota, the mount and the health of its disk: work goes on by itself then",
    )
    READ_ONLY = (
        "cannot be written",
        "check the owner, the mode and the mount of the file and of its folder",
    )
    CLOSED = ("cannot be opened", "check the path, the mode and the mount of its folder")
    DAMAGED = ("is damaged", "restore a backup, see Backup and restore in docs/settings.md")
    OTHER = ("cannot be used", "")

    def __init__(self, problem: str, way_out: str) -> None:
        self.problem = problem
        self.way_out = way_out

    @property
    def passes(self) -> bool:
        """Whether it is waited for at the start too; the others are mistakes of a setup."""
        return self in (Trouble.LOCKED, Trouble.FULL, Trouble.DISK)


_TROUBLE = {
    sqlite3.SQLITE_BUSY: Trouble.LOCKED,
    sqlite3.SQLITE_LOCKED: Trouble.LOCKED,
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_IOERR: Trouble.DISK,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Trouble.CLOSED,
    sqlite3.SQLITE_CORRUPT: Trouble.DAMAGED,
    sqlite3.SQLITE_NOTADB: Trouble.DAMAGED,
}
"""By SQLite's primary result code."""

_REFUSALS = (
    DataError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.NotSupportedError,
    sqlite3.ProgrammingError,
)
"""The database works; it was asked for what it refuses, now and ever."""


class DatabaseDown(BrokerQueueError):
    """The database does not work now: locked, full, read-only, damaged.

    Of a transaction that was being committed it is unknown whether it was written.

    Attributes:
        trouble: what is wrong with it.
    """

    def __init__(self, message: str, trouble: Trouble = Trouble.OTHER) -> None:
        super().__init__(message)
        self.trouble = trouble


class Database:
    """One SQLite file.

    Args:
        location: a path, or an SQLAlchemy URL whose dialect is ``sqlite``.
        cache: MiB of pages that the writer keeps in memory; each reader, a quarter of that.

    Raises:
        ConfigurationError: not a usable location.
    """

    def __init__(self, location: str, cache: int = 64) -> None:
        self.path = _path(location)
        self._cache = cache

    def __str__(self) -> str:
        return f"sqlite {self.path}"

    def writer_engine(self) -> Engine:
        """Return the engine of the writing connection; `BEGIN IMMEDIATE` opens each transaction."""
        engine = create_engine(
            URL.create("sqlite", database=str(self.path)),
            pool_size=1,
            max_overflow=0,
            connect_args={"check_same_thread": False, "cached_statements": 512},
        )
        _configure(engine, (*WRITER_PRAGMAS, _cache_size(self._cache << 10)), "BEGIN IMMEDIATE")
        return engine

    def reader_engine(self, connections: int) -> AsyncEngine:
        """Return the engine of connections that only read."""
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(self.path)),
            pool_size=connections,
            max_overflow=0,
        )
        _configure(engine.sync_engine, (*READER_PRAGMAS, _cache_size(self._cache << 8)), "BEGIN")
        return engine


def busy_timeout(connection: Connection) -> int:
    """Return the milliseconds for which a statement waits for another process that writes."""
    ((milliseconds,),) = _driver(connection).execute("PRAGMA busy_timeout").fetchall()
    return int(milliseconds)


def set_busy_timeout(connection: Connection, milliseconds: int) -> None:
    """Set what `busy_timeout` returns."""
    _driver(connection).execute(f"PRAGMA busy_timeout = {milliseconds}")


def _driver(connection: Connection) -> sqlite3.Connection:
    """Return the writer's connection without SQLAlchemy, which would begin a transaction."""
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def migrate(engine: Engine) -> None:
    """Bring the schema up to this program's version.

    Raises:
        ConfigurationError: the database is newer than this program, or is none of ours.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        check_revision(current, str(engine.url.database))
        if current != ScriptDirectory.from_config(config).get_current_head():
            log.info("migrating the database from schema %s", current or "(empty)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def check_revision(revision: str | None, path: str) -> None:
    """Refuse a schema that this program does not know.

    Raises:
        ConfigurationError: the database is newer than this program.
    """
    scripts = ScriptDirectory(str(MIGRATIONS))
    if revision is not None and revision not in {s.revision for s in scripts.walk_revisions()}:
        raise ConfigurationError(
            f"the database {path} has schema {revision}, which is newer than this program; "
            "install the version of broker-queue that wrote it, or a later one"
        )


@contextmanager
def outages_translated(path: str | None) -> Iterator[None]:
    """Raise `DatabaseDown`, with what an operator should know, in place of the driver's errors."""
    try:
        yield
    except _REFUSALS:
        raise
    except (DatabaseError, PoolTimeout, sqlite3.DatabaseError, OSError) as error:
        original = getattr(error, "orig", None) or error
        trouble = trouble_of(error)
        name = getattr(original, "sqlite_errorname", None) or type(original).__name__
        way_out = f"; {trouble.way_out}" if trouble.way_out else ""
        raise DatabaseDown(
            f"the database {path} {trouble.problem} ({name}: {original}){way_out}", trouble
        ) from error


def trouble_of(error: BaseException) -> Trouble:
    """Return what an error means: of the driver, or one that was translated already."""
    if isinstance(error, DatabaseDown):
        return error.trouble
    code: int = getattr(getattr(error, "orig", error), "sqlite_errorcode", None) or 0
    return _TROUBLE.get(code & 0xFF, Trouble.OTHER)


def _configure(engine: Engine, pragmas: Iterable[str], begin: str) -> None:
    def connect(connection: Any, _record: object) -> None:
        # The driver's own transactions begin too late (not before SELECT); ours are explicit.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def start(connection: Connection) -> None:
        cursor = connection.connection.cursor()
        cursor.execute(begin)
        cursor.close()

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", start)


def _cache_size(kibibytes: int) -> str:
    return f"cache_size = -{kibibytes}"  # a positive number would be one of pages


def _path(location: str) -> Path:
    if "://" not in location:
        return Path(location)
    try:
        url = make_url(location)
    except ArgumentError:
        raise ConfigurationError(f"{location!r} is no database URL") from None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigurationError(
            f"database {url.render_as_string(hide_password=True)!r}: only SQLite files are "
            "supported; give a path such as scheduler.sqlite3"
        )
    return Path(url.database)
