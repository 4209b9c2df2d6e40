"""Becoming the active scheduler of a database: taking the lease, or waiting for it as standby."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial

from broker_queue.failpoints import Point, failpoint
from scheduler import clock
from scheduler.store import leader
from scheduler.store.database import Database, DatabaseDown
from scheduler.store.writer import Writer

log = logging.getLogger(__name__)

STANDBY_PAUSE = 1.0
"""Seconds between looks at the lease."""


async def lead(writer: Writer, database: Database, lease: int, stopped: asyncio.Event) -> bool:
    """Wait for the lease, of `lease` milliseconds, and give the writer its epoch.

    Returns:
        False when `stopped` was set before.

    Raises:
        ConfigurationError: the database is newer than this program.
        DatabaseDown: it does not work; one that another scheduler is writing is waited for.
    """
    name = leader.this_holder()
    is_told = False
    while not stopped.is_set():
        try:
            await writer.prepare()
            now = clock.now()
            take = partial(leader.take, holder=name, now=now, until=now + lease)
            writer.epoch = await writer.unfenced_transaction(take)
            if writer.epoch is not None:
                failpoint(Point.AFTER_LEADERSHIP)
                log.info("active on %s, epoch %d", database, writer.epoch)
                return True
            current = await writer.unfenced_transaction(leader.holder)
            waits_for = current[0] if current else "another scheduler"
        except DatabaseDown as error:
            if not error.is_busy:
                raise
            waits_for = "another scheduler"
        if not is_told:
            is_told = True
            log.info(
                "standby: %s is active on %s; taking over when it is gone", waits_for, database
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(STANDBY_PAUSE):
                await stopped.wait()
    return False


async def give_up(writer: Writer) -> None:
    """Let the lease lapse now, so that a standby need not wait for it."""
    try:
        await writer.transaction(leader.give_up)
    except DatabaseDown as error:
        log.warning("the lease was not given up, so a standby waits until it lapses: %s", error)
