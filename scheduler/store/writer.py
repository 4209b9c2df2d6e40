"""The one writing connection.

A transaction is a function of the connection, which runs from BEGIN to COMMIT in one go. A short one
runs in the thread of the event loop: to wake another thread and be woken by it costs as much as
all its statements. Whatever may take long, or waits for another process, has a thread of its own.
The epoch is checked inside each transaction, so a scheduler that lost its leadership while it was
paused cannot write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from broker_queue.failpoints import Point, failpoint
from scheduler.store import leader
from scheduler.store.database import (
    Database,
    DatabaseDown,
    Trouble,
    busy_timeout,
    migrate,
    outages_translated,
    set_busy_timeout,
    trouble_of,
)

T = TypeVar("T")


class _Locked(Exception):
    """Another process writes."""


class Writer:
    """Runs transactions, one after the other."""

    def __init__(self, database: Database) -> None:
        with outages_translated(str(database.path)):
            self._engine: Engine = database.writer_engine()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._connection: Connection | None = None
        self._is_impatient = False
        self._in_thread = 0
        self._is_prepared = False
        self.epoch: int | None = None

    async def prepare(self) -> None:
        """Migrate the schema, unless that was done.

        Raises:
            ConfigurationError: the database is newer than this program.
            DatabaseDown: it does not work.
        """
        if not self._is_prepared:
            await self._call(self._migrate)
            self._is_prepared = True

    async def transaction(self, work: Callable[[Connection], T], *, is_short: bool = False) -> T:
        """Return what `work` returns once it is committed.

        A caller that is canceled does not stop the transaction: it is committed or rolled back as
        a whole, and the caller must treat its outcome as unknown.

        Args:
            work: reads and writes; if the database is locked, it is called again.
            is_short: it takes some milliseconds, for which the event loop may stand still.

        Raises:
            leader.LostLeadership: another scheduler took over; nothing was written.
            DatabaseDown: it does not work.
        """
        if is_short and not self._in_thread:
            with suppress(_Locked), self._translated():
                return self._transact(work, is_impatient=True)
        return await self._call(self._transact, work)

    async def unfenced_transaction(self, work: Callable[[Connection], T]) -> T:
        """Like `transaction`, without the epoch check: for taking the leadership itself."""
        return await self._call(self._transact_unfenced, work)

    async def close(self) -> None:
        """Wait for the transaction that runs, then close the connection (which checkpoints)."""
        await self._call(self._disconnect)
        self._thread.shutdown(wait=True)

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        self._in_thread += 1
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._thread, function, *arguments)
        done.add_done_callback(self._has_left_thread)
        with self._translated():
            return await asyncio.shield(done)

    def _has_left_thread(self, _done: asyncio.Future[T]) -> None:
        self._in_thread -= 1

    def _translated(self) -> AbstractContextManager[None]:
        return outages_translated(self._engine.url.database)

    def _transact(self, work: Callable[[Connection], T], *, is_impatient: bool = False) -> T:
        with self._begin(is_impatient=is_impatient) as connection:
            leader.check_epoch(connection, self.epoch)
            done = work(connection)
            failpoint(Point.BEFORE_COMMIT)
        failpoint(Point.AFTER_COMMIT)
        return done

    def _transact_unfenced(self, work: Callable[[Connection], T]) -> T:
        with self._begin() as connection:
            return work(connection)

    @contextmanager
    def _begin(self, *, is_impatient: bool = False) -> Iterator[Connection]:
        """Keep the connection from one transaction to the next, unless one of them fails.

        Raises:
            _Locked: another process writes, and this is not to be waited for.
        """
        if self._connection is None:
            self._connection = self._engine.connect()
            self._patience = busy_timeout(self._connection)
            self._is_impatient = False
        if is_impatient is not self._is_impatient:
            set_busy_timeout(self._connection, 0 if is_impatient else self._patience)
            self._is_impatient = is_impatient
        try:
            with self._connection.begin():
                yield self._connection
        except BaseException as error:
            self._release()
            if is_impatient and trouble_of(error) is Trouble.LOCKED:
                raise _Locked from error
            raise

    def _migrate(self) -> None:
        self._release()
        migrate(self._engine)

    def _release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _disconnect(self) -> None:
        self._release()
        self._engine.dispose()


class Reader:
    """Runs reading functions beside the writer, on their own connections.

    Args:
        database: whose.
        connections: as many functions run at once; others wait for their turn.
        on_damage: called with the error when one finds the database damaged.
    """

    def __init__(
        self, database: Database, connections: int, on_damage: Callable[[DatabaseDown], None]
    ) -> None:
        self._on_damage = on_damage
        self._engine: AsyncEngine = database.reader_engine(connections)
        self._room = asyncio.Semaphore(connections)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, from one consistent snapshot.

        Raises:
            DatabaseDown: it does not work.
        """
        try:
            with outages_translated(self._engine.url.database):
                async with self._room, self._engine.connect() as connection:
                    return await connection.run_sync(work)
        except DatabaseDown as error:
            if error.trouble is Trouble.DAMAGED:
                self._on_damage(error)
            raise

    async def close(self) -> None:
        await self._engine.dispose()
