"""A scheduler's database without a broker: set up, filled, and one transaction of it counted."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from broker_queue.protocol.messages import Message, NewJob, Submit
from scheduler import work
from scheduler.incoming.requests import Request
from scheduler.operations.reports import Incoming
from scheduler.operations.transaction import ReplyAddress
from scheduler.rules.lifecycle import Succeed
from scheduler.rules.submission import Limits
from scheduler.store import leader
from scheduler.store.database import Connection
from scheduler.store.dispatch import Handout, Room
from scheduler.store.writer import Writer
from scheduler.tokens import Token
from scheduler.work import Done, Work
from tests.cost.budgets import Counts
from tests.cost.counting import CountedDatabase, bytecodes, calls, instructions

NOW = 1_800_000_000_000
ROOM = Room(1_000, 1 << 30)
WINDOW = 2_000
SOMEBODY = ReplyAddress("amq.rabbitmq.reply-to.x", "1", "2")

_FRAME_HEADER = 24
_WAL_HEADER = 32
_COPIED = ("job", "args", "outcome", "edge", "reference")
_KEYS = ("key", "job_key", "child_key", "parent_key")


def job_id(number: int) -> str:
    """Return an id that is the same in every run: where it stands in an index is part of the cost."""
    return f"01900000-0000-7000-8000-{number:012x}"


class Store:
    """What the loop has of a database: the writer, and what it must tell it next.

    Attributes:
        window: jobs that a queue holds at most.
    """

    def __init__(self, path: Path, window: int = WINDOW) -> None:
        self.window = window
        self._path = path
        self._database = CountedDatabase(str(path))
        self._writer = Writer(self._database)

    async def open(self) -> None:
        """Make the database and take its leadership."""
        await self._writer.prepare()
        self._writer.epoch = await self._writer.unfenced_transaction(
            lambda connection: leader.take(connection, "nobody:0", NOW, NOW)
        )

    async def close(self) -> None:
        await self._writer.close()

    async def apply(self, todo: Work) -> Done:
        """Apply a batch as the loop does."""
        return await self._writer.transaction(self._apply(todo))

    async def submit(self, jobs: Sequence[NewJob], **given: Any) -> list[Handout]:
        """Submit jobs, and have those that are handed out confirmed by the broker."""
        done = await self.apply(Work(now=NOW, requests=[submit(jobs, **given)], room=ROOM))
        return await self.confirm(done)

    async def confirm(self, done: Done) -> list[Handout]:
        """Have the broker confirm what a transaction handed out."""
        handouts = done.effects.handouts
        published = [(item.key, item.handover) for item in handouts]
        await self.apply(Work(now=NOW, published=published))
        return handouts

    async def multiply(self, times: int) -> int:
        """Make that many copies of all jobs, none of them handed out; return how many jobs there are."""
        return await self._writer.transaction(lambda _: self._multiply(times))

    def _multiply(self, times: int) -> int:
        connection = self._connection
        connection.create_function("copied_id", 2, _copied_id)
        [span] = connection.execute("SELECT max(key) FROM job").fetchone()
        for table in _COPIED:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            connection.execute(
                "WITH RECURSIVE copy(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM copy "
                f"WHERE n < :times) INSERT INTO {table} ({', '.join(columns)}) "
                f"SELECT {', '.join(map(_copied, columns))} FROM copy, {table} AS original "
                "WHERE n > 0",
                {"times": times, "span": span},
            )
        stored: int = connection.execute("SELECT count(*) FROM job").fetchone()[0]
        return stored

    async def count(self, todo: Work) -> Counts:
        """Return what applying a batch costs."""
        statements = self._database.statements
        connection = self._connection
        await self._writer.transaction(lambda _: None)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        executed, rows = statements.executed, statements.rows
        apply = self._apply(todo)
        with instructions(connection) as executed_in_sqlite:
            counted, _ = await self._writer.transaction(
                lambda transaction: calls(lambda: apply(transaction))
            )
            steps = executed_in_sqlite()
        return {
            "statements": statements.executed - executed,
            "rows of executemany": statements.rows - rows,
            "instructions of SQLite": steps,
            "pages written": self._pages(),
            "calls": counted,
        }

    async def count_bytecodes(self, todo: Work) -> int:
        """Return how many instructions of Python applying a batch takes."""
        apply = self._apply(todo)
        counted, _ = await self._writer.transaction(
            lambda transaction: bytecodes(lambda: apply(transaction))
        )
        return counted

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._database.connection is not None
        return self._database.connection

    def _apply(self, todo: Work) -> Callable[[Connection], Done]:
        return lambda connection: work.apply(connection, todo, Limits(), self.window)

    def _pages(self) -> int:
        """Return how many pages were written since the log was emptied."""
        size: int = self._connection.execute("PRAGMA page_size").fetchone()[0]
        log: int = self._path.with_name(f"{self._path.name}-wal").stat().st_size
        return max(0, log - _WAL_HEADER) // (size + _FRAME_HEADER)


def new_path(folder: Path) -> Path:
    """Make a folder, and return the path of a database in it."""
    folder.mkdir(parents=True)
    return folder / "cost.sqlite3"


@asynccontextmanager
async def new_store(folder: Path, window: int = WINDOW) -> AsyncIterator[Store]:
    """A new database."""
    store = Store(new_path(folder), window)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


def request(operation: str, message: Message) -> Request:
    """Return a request as it comes in."""
    return Request(operation, message, b"", SOMEBODY, cast(Any, None))


def submit(jobs: Sequence[NewJob], **given: Any) -> Request:
    """Return a request that submits these jobs."""
    return request("submit", Submit(jobs=list(jobs), **given))


def finished(handout: Handout) -> Incoming:
    """Return the report that a job has finished."""
    return Incoming(
        Token(handout.id, handout.handover, handout.key),
        Succeed(handout.handover, NOW),
        result=b'{"sum":42}',
    )


def _copied(column: str) -> str:
    if column in _KEYS:
        return f"original.{column} + n * :span"
    if column == "id":
        return "copied_id(original.id, n)"
    return "0" if column == "dispatch" else f"original.{column}"


def _copied_id(identity: bytes, number: int) -> bytes:
    return identity[:6] + number.to_bytes(2, "big") + identity[8:]
