"""The leadership: one writer, and a paused one finds itself locked out."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from scheduler.store import leader
from scheduler.store.database import Database
from scheduler.store.writer import Writer


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(str(tmp_path / "leader.sqlite3"))


def nothing(_connection: Connection) -> None:
    """A transaction that only checks the epoch."""


async def test_the_leadership_is_free_then_held_then_lapses(database: Database) -> None:
    writer = Writer(database)
    await writer.prepare()
    take = partial(writer.unfenced_transaction)
    assert await take(partial(leader.take, holder="here:1", now=0, until=100)) == 1
    assert await take(partial(leader.take, holder="there:2", now=50, until=150)) is None
    assert await take(leader.holder) == ("here:1", 100)
    assert await take(partial(leader.take, holder="there:2", now=100, until=200)) == 2
    await writer.close()


async def test_a_writer_whose_leadership_was_taken_writes_nothing_more(database: Database) -> None:
    paused, other = Writer(database), Writer(database)
    await paused.prepare()
    paused.epoch = await paused.unfenced_transaction(
        partial(leader.take, holder="here:1", now=0, until=100)
    )
    await paused.transaction(nothing)
    other.epoch = await other.unfenced_transaction(
        partial(leader.take, holder="there:2", now=101, until=200)
    )
    with pytest.raises(leader.LostLeadership, match="epoch 2, ours was 1"):
        await paused.transaction(nothing)
    await other.transaction(nothing)
    await paused.close()
    await other.close()


async def test_a_leadership_given_up_is_free_at_once(database: Database) -> None:
    writer = Writer(database)
    await writer.prepare()
    writer.epoch = await writer.unfenced_transaction(
        partial(leader.take, holder="here:1", now=0, until=1_000)
    )
    await writer.transaction(partial(leader.renew, until=2_000))
    await writer.transaction(leader.give_up)
    again = partial(leader.take, holder="there:2", now=1, until=3_000)
    assert await writer.unfenced_transaction(again) == 2
    await writer.close()


async def test_the_leadership_of_a_process_that_is_gone_need_not_be_waited_for(
    database: Database,
) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    gone = leader.this_holder().replace(str(os.getpid()), str(process.pid))
    writer = Writer(database)
    await writer.prepare()
    for holder, epoch in ((gone, 1), ("here:1", 2)):
        take = partial(leader.take, holder=holder, now=0, until=1_000)
        assert await writer.unfenced_transaction(take) == epoch
    await writer.close()
