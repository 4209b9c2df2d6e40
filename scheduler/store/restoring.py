"""Putting a copy of a database back into use: what the broker has of it is void from then on."""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from broker_queue.errors import ConfigurationError
from broker_queue.job import State
from scheduler import clock
from scheduler.rules.lifecycle import Dispatch
from scheduler.store import secret
from scheduler.store.backup import (
    SIDE_FILES,
    check_destination,
    copy_checked,
    put_in_place,
    unfinished,
)


class Restored(NamedTuple):
    """A database that is ready for its scheduler."""

    path: Path
    jobs: int
    again: int
    """Jobs that were handed out or running; they stand in line once more."""


def restore(copy: Path, database: Path, *, replace: bool = False) -> Restored:
    """Make `database` from a copy that `backup.back_up` made; no scheduler must run on it.

    What the copy thinks is with the broker or a worker goes back in line, under a new secret: the
    same number of a hand-over may be given for the second time, and a token from before must not
    count for it.

    Raises:
        ConfigurationError: `copy` is no database of ours, or damaged; `database` is there and not
            to be replaced, is in use, or cannot be written.
    """
    check_destination(copy, database, replace=replace)
    _refuse_in_use(database)
    with unfinished(database) as fresh:
        copy_checked(copy, fresh)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            again = _forget_the_broker(connection)
            jobs = int(connection.execute("SELECT count(*) FROM job").fetchone()[0])
            connection.execute("COMMIT")
        for suffix in SIDE_FILES:  # of the database that is replaced; they would be read into this
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        put_in_place(fresh, database)
    return Restored(database, jobs, again)


def _refuse_in_use(database: Path) -> None:
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(database, timeout=0)) as connection:
            row = connection.execute("SELECT holder, expires_at FROM leader").fetchone()
    except sqlite3.Error:
        return  # damaged, perhaps the reason for all this
    if row is not None and row[1] > clock.now():
        raise ConfigurationError(
            f"scheduler {row[0]} is active on {database}, or was a moment ago; stop it first"
        )


def _forget_the_broker(connection: sqlite3.Connection) -> int:
    """Put back in line what was handed out; return how many jobs that are."""
    connection.execute(
        "UPDATE setting SET value = ? WHERE name = ?",
        (secrets.token_bytes(secret.BYTES), secret.NAME),
    )
    connection.execute("DELETE FROM leader")
    connection.execute("UPDATE queue SET handed_out = 0")
    connection.execute(
        "UPDATE job SET dispatch = ? WHERE state = ? AND dispatch != ?",
        (Dispatch.NONE, State.CANCELED, Dispatch.NONE),
    )
    return connection.execute(
        "UPDATE job SET state = ?, dispatch = ?, handover = handover + 1, started_at = NULL, "
        "worker = NULL, due_at = NULL, leased_until = NULL "
        "WHERE state = ? OR (state = ? AND dispatch != ?)",
        (State.QUEUED, Dispatch.NONE, State.RUNNING, State.QUEUED, Dispatch.NONE),
    ).rowcount
