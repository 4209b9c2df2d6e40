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
    other, said = "another scheduler", ""
    while not stopped.is_set():
        level = logging.INFO
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
            text = _standby(other, database)
        except DatabaseDown as error:
            if not error.trouble.passes:
                raise
            if error.trouble is Trouble.LOCKED:  # as any other one does that writes for long
                text = _standby(other, database)
            else:
                level, text = logging.ERROR, f"waiting: {error}"
        if text != said:
            log.log(level, "%s", text)
            said = text
        await _pause(stopped)
    return False


def _standby(other: str, database: Database) -> str:
    return f"standby: {other} is active on {database}; taking over when it is gone"


async def once_possible(call: Callable[[], Awaitable[T]], stopped: asyncio.Event) -> T | None:
    """Return what `call` returns once the database works.

    Returns:
        None when `stopped` was set before.

    Raises:
        DatabaseDown: it does not work, in a way that does not pass.
    """
    trouble = ""
    while not stopped.is_set():
        try:
            done = await call()
        except DatabaseDown as error:
            if not error.trouble.passes:
                raise
            level = logging.DEBUG if str(error) == trouble else logging.ERROR
            log.log(level, "waiting: %s", error)
            trouble = str(error)
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
