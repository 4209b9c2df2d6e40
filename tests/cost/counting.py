"""Counting what a piece of work does: the same in every run, on every machine."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from operator import length_hint
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self, TypeVar

from sqlalchemy import Engine, event

import broker_queue
import scheduler
from scheduler.store.database import Database

T = TypeVar("T")

_OURS = tuple(str(Path(package.__path__[0])) for package in (broker_queue, scheduler))
_PLENTY = sys.maxsize
_SKIPPED = ("COMMIT", "PRAGMA")


class Statements:
    """Counts what one connection is asked, below SQLAlchemy: nothing passes it by.

    Attributes:
        executed: calls of execute and executemany, `BEGIN` included.
        transactions: as many as begin.
        rows: parameter sets of all executemany.
    """

    def __init__(self) -> None:
        self.executed = 0
        self.transactions = 0
        self.rows = 0

    def note(self, text: str, rows: int = 0) -> None:
        if not text.startswith(_SKIPPED):
            self.executed += 1
            self.transactions += text.startswith("BEGIN")
            self.rows += rows


class CountedDatabase(Database):
    """A database whose writer is counted."""

    def __init__(self, location: str, cache: int = 64) -> None:
        super().__init__(location, cache)
        self.statements = Statements()
        self.connection: sqlite3.Connection | None = None

    def writer_engine(self) -> Engine:
        """Return the engine of the writing connection, which is counted."""
        engine = super().writer_engine()
        factory = _counted_connection(self.statements)

        def count(_dialect: object, _record: object, _args: object, options: Any) -> None:
            options["factory"] = factory

        def keep(connection: sqlite3.Connection, _record: object) -> None:
            connection.execute("PRAGMA synchronous = OFF")  # costs time, and nothing else
            self.connection = connection

        event.listen(engine, "do_connect", count)
        event.listen(engine, "connect", keep)
        return engine


def _counted_connection(statements: Statements) -> type[sqlite3.Connection]:
    class CountedCursor(sqlite3.Cursor):
        def execute(self, sql: str, parameters: Any = ()) -> Self:
            statements.note(sql)
            return super().execute(sql, parameters)

        def executemany(self, sql: str, parameters: Any) -> Self:
            rows = list(parameters)
            statements.note(sql, len(rows))
            return super().executemany(sql, rows)

    class CountedConnection(sqlite3.Connection):
        def cursor(self, factory: Any = CountedCursor) -> Any:
            return super().cursor(factory)

    return CountedConnection


@contextmanager
def instructions(connection: sqlite3.Connection) -> Iterator[Callable[[], int]]:
    """Count the instructions that SQLite's virtual machine executes in this block."""
    # Called at every instruction, so it must not be Python; it returns None, which means: go on.
    countdown = repeat(None, _PLENTY)
    connection.set_progress_handler(countdown.__next__, 1)
    try:
        yield lambda: _PLENTY - length_hint(countdown)
    finally:
        connection.set_progress_handler(None, 0)


def calls(work: Callable[[], T]) -> tuple[int, T]:
    """Return how often `work` calls functions of ours, and what it returns.

    Those of libraries do not count, so another version of one changes nothing. A generator counts
    each time it goes on.
    """
    counted = 0
    is_ours = _Ours()

    def note(frame: FrameType, kind: str, _argument: object) -> None:
        nonlocal counted
        if kind == "call" and is_ours(frame.f_code):
            counted += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        done = work()
    finally:
        sys.setprofile(before)
    return counted, done


def bytecodes(work: Callable[[], T]) -> tuple[int, T]:
    """Return how many instructions of Python `work` executes in code of ours, and what it returns.

    Only proportions mean something: every version of Python has instructions of its own.
    """
    counted = 0
    is_ours = _Ours()

    def step(_frame: FrameType, kind: str, _argument: object) -> Any:
        nonlocal counted
        counted += kind == "opcode"
        return step

    def enter(frame: FrameType, _kind: str, _argument: object) -> Any:
        if not is_ours(frame.f_code):
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        done = work()
    finally:
        sys.settrace(before)
    return counted, done


class _Ours:
    """Whether code is of the packages here, and not of a library or a test."""

    def __init__(self) -> None:
        self._known: dict[CodeType, bool] = {}

    def __call__(self, code: CodeType) -> bool:
        known = self._known.get(code)
        if known is None:
            known = self._known[code] = code.co_filename.startswith(_OURS)
        return known
