"""A consistent copy of a database while a scheduler goes on writing to it.

The copy is read from one snapshot: in WAL mode a reader blocks no writer, however long it takes;
what is committed meanwhile is not in the copy, and the WAL file grows until the copy is done.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from broker_queue.errors import ConfigurationError
from scheduler.store.database import DatabaseDown, Trouble, check_revision, trouble_of

PAGES = 1_000
"""Pages copied in one step: 4 MB."""

PAUSE = 0.01
"""Seconds between steps, in which the disk is the scheduler's alone."""

WAIT = 10.0
"""Seconds that a lock is waited for."""

SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database that is in use, or was not closed in order."""


class Copied(NamedTuple):
    """A copy that was checked and is on disk; `size` is in bytes."""

    path: Path
    size: int
    jobs: int


def back_up(source: Path, destination: Path, *, replace: bool = False) -> Copied:
    """Copy the database `source`, which may be in use, to the file `destination`.

    Raises:
        ConfigurationError: `source` is no database of ours, or damaged; `destination` is there and
            not to be replaced, or cannot be written.
    """
    check_destination(source, destination, replace=replace)
    with unfinished(destination) as copy:
        copy_checked(source, copy)
        jobs = count_jobs(copy)
        put_in_place(copy, destination)
    return Copied(destination, destination.stat().st_size, jobs)


def check_destination(source: Path, destination: Path, *, replace: bool) -> None:
    """Refuse a destination before anything is copied.

    Raises:
        ConfigurationError: see `back_up`.
    """
    if not source.is_file():
        raise ConfigurationError(f"there is no database {source}; name it with --database")
    if destination.is_dir():
        raise ConfigurationError(f"{destination} is a folder; give the name of a file in it")
    if not destination.parent.is_dir():
        raise ConfigurationError(f"there is no folder {destination.parent}")
    if destination.exists():
        if destination.samefile(source):
            raise ConfigurationError(f"{destination} is the database itself")
        if not destination.is_file():  # an administrator would replace even /dev/null
            raise ConfigurationError(f"{destination} is no ordinary file; give another name")
        if not replace:
            raise ConfigurationError(f"{destination} exists already; --force replaces it")


@contextmanager
def unfinished(destination: Path) -> Iterator[Path]:
    """Give the name of a file in the folder of `destination`; it is deleted if it is still there.

    Raises:
        ConfigurationError: the disk is full, or something else is wrong with that folder.
    """
    path = destination.with_name(f".{destination.name}.{os.getpid()}.unfinished")
    try:
        yield path
    except (OSError, sqlite3.Error, DatabaseDown) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if trouble_of(error) is Trouble.FULL:
            reason = "there is no room for it on the disk"
        raise ConfigurationError(f"cannot write {destination}: {reason}") from error
    finally:
        for file in (path, *side_files(path)):
            with suppress(OSError):
                file.unlink()


def copy_checked(source: Path, copy: Path) -> None:
    """Copy a database into a new file of its own, without side files, and check all of the copy.

    Raises:
        ConfigurationError: `source` is no database of ours, is newer than this program, is locked
            or damaged.
        sqlite3.Error: `copy` cannot be written.
    """
    copy.touch(mode=0o600, exist_ok=False)  # it holds the secret of the tokens, and all args

    def on_step(*_: int) -> None:
        # Put on disk all at once in the end, a gigabyte holds up the scheduler's commits for 0.5 s.
        sync(copy)

    with closing(_open(source)) as origin, closing(sqlite3.connect(copy)) as target:
        with _told(source):
            _begin_snapshot(origin, source)
        with _told(source, only_damage=True):  # else it is the copy that cannot be written
            origin.backup(target, pages=PAGES, progress=on_step, sleep=PAUSE)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, which any tool can move
            found = target.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise _damaged(source, found)


def put_in_place(copy: Path, destination: Path) -> None:
    """Give a finished file its name; after a power cut it has it, or has it not, as a whole."""
    sync(copy)
    copy.replace(destination)
    sync(destination.parent)


def sync(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def side_files(path: Path) -> list[Path]:
    """Return the names of what SQLite keeps beside a database."""
    return [path.with_name(path.name + suffix) for suffix in SIDE_FILES]


def _open(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=WAIT, isolation_level=None)


def _begin_snapshot(origin: sqlite3.Connection, source: Path) -> None:
    """Open the transaction that all steps read from; without it every commit starts them anew."""
    origin.execute("BEGIN")
    tables = {name for (name,) in origin.execute("SELECT name FROM sqlite_schema")}
    if not {"alembic_version", "job", "setting"} <= tables:
        raise ConfigurationError(f"{source} is no database of broker-queue")
    row = origin.execute("SELECT version_num FROM alembic_version").fetchone()
    check_revision(None if row is None else row[0], str(source))


def count_jobs(path: Path) -> int:
    """Return how many jobs a database has that nobody uses."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM job").fetchone()[0])


@contextmanager
def _told(source: Path, *, only_damage: bool = False) -> Iterator[None]:
    """Say in an operator's words what is wrong with a database that is read."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
            raise ConfigurationError(f"{source} is no database of broker-queue") from error
        if trouble_of(error) is Trouble.DAMAGED:
            raise _damaged(source, str(error)) from error
        if only_damage:
            raise
        raise ConfigurationError(f"cannot read the database {source}: {error}") from error


def _damaged(source: Path, found: str) -> ConfigurationError:
    return ConfigurationError(f"the database {source} is damaged: {' '.join(found.split())}")
