"""A connection that is closed while something else happens to it."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from broker_queue.amqp.connection import Connection, Session
from broker_queue.background import Background
from tests.support.waiting import PATIENCE

TURNS = 30
"""Turns of the event loop in which a connection can be met at each step of its closing."""


async def nothing_to_set_up(_session: Session) -> None: ...


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    connection = Connection(url, name="test", setup=nothing_to_set_up)
    await connection.start(fail_fast=True)
    try:
        yield connection
    finally:
        async with asyncio.timeout(PATIENCE):
            await connection.close()


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_cancellation_of_who_closes_is_not_lost(broker_url: str) -> None:
    async with connected(broker_url) as connection:
        closing = asyncio.create_task(connection.close())
        await turns(2)
        assert not closing.done()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not connection.is_up


@pytest.mark.parametrize("after", range(0, TURNS, 3))
async def test_closing_ends_a_connection_that_has_just_been_lost(
    broker_url: str, after: int
) -> None:
    async with connected(broker_url) as connection:
        session = await connection.session()
        session.fail("lost by the test")
        await turns(after)
        async with asyncio.timeout(PATIENCE):
            await connection.close()
        assert not connection.is_up
        assert session._connection.is_closed


async def test_who_gives_up_connecting_leaves_no_connection(broker_url: str) -> None:
    connection = Connection(broker_url, name="given up", setup=nothing_to_set_up)
    starting = asyncio.create_task(connection.start(fail_fast=True))
    await turns(5)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert "connection given up" not in {task.get_name() for task in asyncio.all_tasks()}


GIVE_UP_CONNECTING = """
import asyncio, sys
from broker_queue import JobQueue

async def main():
    for turns in range(0, 300, 5):
        connecting = asyncio.create_task(JobQueue(sys.argv[1]).connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait([connecting])

asyncio.run(main())
"""


def test_a_program_that_gives_up_connecting_sees_nothing_of_the_library_below(
    broker_url: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", GIVE_UP_CONNECTING, broker_url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stderr == ""


async def test_channels_that_were_closed_leave_nothing_behind(broker_url: str) -> None:
    """A scheduler opens some channels a minute, on a connection that lives for months."""

    def futures() -> int:
        gc.collect()
        return sum(isinstance(each, asyncio.Future) for each in gc.get_objects())

    async with connected(broker_url) as connection:
        session = await connection.session()
        await (await session.open_channel()).close()
        before = futures()
        for _ in range(100):
            await (await session.open_channel(essential=False)).close()
        assert futures() < before + 50


async def test_closing_ends_a_connection_whose_library_lost_the_cancellation(
    broker_url: str,
) -> None:
    begun = asyncio.Event()

    async def lose_it(_session: Session) -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    connection = Connection(broker_url, name="test", setup=lose_it)
    await connection.start()
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        await connection.close()


async def test_a_part_that_lost_its_cancellation_is_canceled_again() -> None:
    background = Background()
    begun, lost = asyncio.Event(), asyncio.Event()

    async def lose_the_first() -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        lost.set()
        await asyncio.Event().wait()

    background.start(lose_the_first(), "losing")
    await begun.wait()
    async with asyncio.timeout(PATIENCE):
        await background.close()
    assert lost.is_set()
