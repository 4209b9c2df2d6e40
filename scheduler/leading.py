"""Becoming the active scheduler of a database: taking the leadership, or waiting for it as standby."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from broker_queue.failpoints import Point, failpoint
from scheduler import clock
from scheduler.store import leader
from scheduler.store.database import Database, DatabaseDown, Trouble
from scheduler.store.writer import Writer

log = logging.getLogger(__name__)

T = TypeVar("T")

STANDBY_PAUSE = 1.0
"""Seconds between looks at the leadership."""


async def lead(
    writer: Writer, database: Database, takeover_after: int, stopped: asyncio.Event
) -> bool:
    """Wait for the leadership, which lasts `takeover_after` milliseconds, and give the writer its epoch.

    Returns:
        False when `stopped` was set before.

    Raises:
        ConfigurationError: the database is newer than this program.
        DatabaseDown: it does not work, in a way that does not pass.
    """
    name = leader.this_holder()
    other = "another scheduler"
    told: str | Trouble | None = None
    while not stopped.is_set():
        down: DatabaseDown | None = None
        try:
            await writer.prepare()
            now = clock.now()
            take = partial(leader.take, holder=name, now=now, until=now + takeover_after)
            writer.epoch = await writer.unfenced_transaction(take)
            if writer.epoch is not None:
                failpoint(Point.AFTER_LEADERSHIP)
                log.info("active on %s, epoch %d", database, writer.epoch)
                return True
            current = await writer.unfenced_transaction(leader.holder)
            other = current[0] if current else other
        except DatabaseDown as error:
            if not error.trouble.passes:
                raise
            if error.trouble is not Trouble.LOCKED:  # that is another one, which writes for long
                down = error
        if down is not None and down.trouble is not told:
            log.error("waiting: %s", down)
        elif down is None and other != told:
            log.info("standby: %s is active on %s; taking over when it is gone", other, database)
        told = other if down is None else down.trouble
        await _pause(stopped)
    return False


async def once_possible(call: Callable[[], Awaitable[T]], stopped: asyncio.Event) -> T | None:
    """Return what `call` returns once the database works.

    Returns:
        None when `stopped` was set before.

    Raises:
        DatabaseDown: it does not work, in a way that does not pass.
    """
    trouble: Trouble | None = None
    while not stopped.is_set():
        try:
            done = await call()
        except DatabaseDown as error:
            if not error.trouble.passes:
                raise
            level = logging.DEBUG if error.trouble is trouble else logging.ERROR
            log.log(level, "waiting: %s", error)
            trouble = error.trouble
        else:
            if trouble:
                log.info("the database works again")
            return done
        await _pause(stopped)
    return None


async def _pause(stopped: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(STANDBY_PAUSE):
            await stopped.wait()


async def give_up(writer: Writer) -> None:
    """Let the leadership lapse now, so that a standby need not wait for it."""
    try:
        await writer.transaction(leader.give_up)
    except DatabaseDown as error:
        log.warning(
            "the leadership was not given up, so a standby waits until it lapses: %s", error
        )
