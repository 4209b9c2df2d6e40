"""A database kept for one process alone, though it is damaged or will be replaced.

SQLite's own lock would do for the former only: on closing, it deletes the side files of whatever
has the database's name by then. So its locking protocol is kept by hand
(https://www.sqlite.org/src/doc/trunk/src/os.h, "SHARED_FIRST"): a connection in WAL mode has a read
lock on these bytes for as long as it is open, in whatever process or container of this machine.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from broker_queue.errors import ConfigurationError

SHARED_FIRST = 0x40000000 + 2
SHARED_SIZE = 510


@contextmanager
def sole_use(database: Path) -> Iterator[None]:
    """Let nobody else open `database`, if there is one; who tries finds it locked.

    This process must not have it open in SQLite: closing any file gives up all its locks.

    Raises:
        ConfigurationError: somebody has it open, or it may not be written.
    """
    if not database.exists():
        yield
        return
    try:
        descriptor = os.open(database, os.O_RDWR)
    except OSError as error:
        raise ConfigurationError(f"cannot write {database}: {error.strerror}") from error
    try:
        _lock(descriptor, database)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, database: Path) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        raise ConfigurationError(
            f"the database {database} is in use, last by scheduler {_holder(database)}; stop all "
            "schedulers on it, standbys too, and whatever else has it open"
        ) from None


def _holder(database: Path) -> str:
    try:
        with closing(
            sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
        ) as reader:
            return str(reader.execute("SELECT holder FROM leader").fetchone()[0])
    except (sqlite3.Error, TypeError):
        return "(unknown)"
