"""The leases of jobs, as the database has them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from broker_queue.job import JobId
from tests.support.waiting import PATIENCE, until


def leased_until(database: Path, job: JobId) -> int | None:
    """Return until when a job is leased, in milliseconds since the Unix epoch."""
    with closing(sqlite3.connect(database, timeout=PATIENCE)) as connection:
        identity = bytes.fromhex(job.replace("-", ""))
        found = connection.execute("SELECT leased_until FROM job WHERE id = ?", (identity,))
        value: int | None = found.fetchone()[0]
        return value


async def until_leased(database: Path, job: JobId, after: int = 0) -> int:
    """Return until when a job is leased, once that is later than `after`."""
    seen = 0

    async def is_leased() -> bool:
        nonlocal seen
        seen = leased_until(database, job) or 0
        return seen > after

    await until(is_leased)
    return seen
