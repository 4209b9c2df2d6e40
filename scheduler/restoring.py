"""Putting a copy of a database back into use: what the broker has of it is void from then on."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import NamedTuple

from scheduler import clock
from scheduler.operations.take_back import take_back
from scheduler.operations.transaction import Transaction
from scheduler.rules.submission import Limits
from scheduler.store import leader, secret
from scheduler.store.backup import (
    check_destination,
    copy_checked,
    count_jobs,
    put_in_place,
    side_files,
    unfinished,
)
from scheduler.store.database import Connection, Database
from scheduler.store.sole_use import sole_use
from scheduler.store.writer import Writer


class Restored(NamedTuple):
    """A database that is ready for its scheduler."""

    path: Path
    jobs: int
    again: int
    """Jobs that were handed out or running; they stand in line once more."""


def restore(copy: Path, database: Path, *, replace: bool = False) -> Restored:
    """Make `database` from a copy that `backup.back_up` made.

    What the copy thinks is with the broker or a worker goes back in line, under a new secret: the
    same number of a hand-over may be given for the second time, and a token from before must not
    count for it.

    Raises:
        ConfigurationError: `copy` is no database of ours, or damaged; `database` is there and not
            to be replaced, is in use, or cannot be written.
    """
    check_destination(copy, database, replace=replace)
    with sole_use(database), unfinished(database) as fresh:
        copy_checked(copy, fresh)
        again = asyncio.run(_make_ready(Database(str(fresh))))
        jobs = count_jobs(fresh)
        for file in side_files(database):  # of what is replaced; they would be read into this
            file.unlink(missing_ok=True)
        put_in_place(fresh, database)
    return Restored(database, jobs, again)


async def _make_ready(database: Database) -> int:
    """Bring the schema up to date and forget the broker; return how many jobs that concerns."""
    writer = Writer(database)
    try:
        await writer.prepare()
        return await writer.unfenced_transaction(_forget_the_broker)
    finally:
        await writer.close()


def _forget_the_broker(connection: Connection) -> int:
    secret.renew(connection, secrets.token_bytes)
    leader.give_up(connection)
    return take_back(Transaction(connection, clock.now(), clock.chance, Limits()))
