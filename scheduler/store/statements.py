"""Statements: SQLAlchemy writes their text, once; the driver executes it.

SQLAlchemy's own way from a statement to its rows takes four times as long as SQLite does for the
short ones of a scheduler. So values go to the driver as they are and must be what it takes: integers,
strings, bytes, None; rows are plain tuples. Errors are the driver's own, which
`database.outages_translated` knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    LargeBinary,
    bindparam,
    func,
    select,
)
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import await_only

IDS_AT_ONCE = (1, 16, 500)
"""Ids in one statement: its text depends on their number, so there are few of them."""


class _Text(NamedTuple):
    """What the driver executes."""

    sql: str
    names: tuple[str, ...]
    """Parameters, in order."""
    constants: dict[str, Any]
    """Those that the statement gives a value itself."""


def is_one_of(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that an integer column is one of the values of parameter `name`.

    The parameter's value is made by `key_list`: one parameter however many values there are, so
    that the statement's text never changes.
    """
    listed = func.json_each(bindparam(name)).table_valued("value")
    return column.in_(select(listed.c.value))


def key_list(keys: Iterable[int]) -> str:
    """Return the value of a parameter of `is_one_of`."""
    return f"[{','.join(map(str, keys))}]"


def blobs(name: str) -> Any:
    """Return a parameter that stands for many 16-byte ids in ``column.in_(…)``."""
    return bindparam(name, expanding=True, type_=LargeBinary(16))


def rows(connection: Connection, statement: ClauseElement, **values: Any) -> Iterator[Any]:
    """Yield the rows of a query one by one: whoever has enough reads no further."""
    text = _compiled(statement, tuple(values), connection.dialect)
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(text.sql, _in_order(text, values))
        yield from iter(cursor.fetchone, None)


def fetch(connection: Connection, statement: ClauseElement, **values: Any) -> list[Any]:
    """Return the rows of a statement."""
    text = _compiled(statement, tuple(values), connection.dialect)
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(text.sql, _in_order(text, values))
        return list(cursor.fetchall())


def pause(connection: Connection) -> None:
    """Let the event loop do something else, on a reader: whoever has many rows does so now and then.

    A reader waits for the driver's thread, and takes the rows apart in that of the event loop.
    """
    if connection.dialect.is_async:
        await_only(asyncio.sleep(0))


def fetch_by_id(
    connection: Connection, statement: ClauseElement, ids: Collection[bytes]
) -> Iterator[Any]:
    """Yield the rows of a statement whose one parameter is made by `blobs`, some ids at a time."""
    left = list(ids)
    while left:
        count = next((size for size in IDS_AT_ONCE if size >= len(left)), IDS_AT_ONCE[-1])
        some, left = left[:count], left[count:]
        some += [some[-1]] * (count - len(some))
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(_for_ids(statement, count, connection.dialect), some)
            found = cursor.fetchall()
        yield from found


def change(connection: Connection, statement: ClauseElement, **values: Any) -> int:
    """Execute an INSERT, UPDATE or DELETE and return how many rows it concerned."""
    text = _compiled(statement, tuple(values), connection.dialect)
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(text.sql, _in_order(text, values))
        return int(cursor.rowcount)


def change_many(
    connection: Connection, statement: ClauseElement, values: Sequence[dict[str, Any]]
) -> None:
    """Execute an INSERT or UPDATE once for each of `values`, all of which have the same keys."""
    if not values:
        return
    text = _compiled(statement, tuple(values[0]), connection.dialect)
    names = text.names
    pick = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
    if text.constants:
        values = [text.constants | row for row in values]
    with closing(connection.connection.cursor()) as cursor:
        cursor.executemany(text.sql, [pick(row) for row in values])


def insert_rows(
    connection: Connection,
    statement: ClauseElement,
    names: tuple[str, ...],
    values: Sequence[Sequence[Any]],
) -> None:
    """Insert rows whose columns are `names`, which is the order that they have in the table."""
    text = _compiled(statement, names, connection.dialect)
    if text.names != names:
        raise ValueError(f"the columns are {text.names}, not {names}")
    with closing(connection.connection.cursor()) as cursor:
        cursor.executemany(text.sql, values)


def _in_order(text: _Text, values: dict[str, Any]) -> list[Any]:
    if text.constants:
        values = text.constants | values
    return [values[name] for name in text.names]


@lru_cache(maxsize=500)
def _compiled(statement: ClauseElement, keys: tuple[str, ...], dialect: Dialect) -> _Text:
    compiled = cast(SQLCompiler, statement.compile(dialect=dialect, column_keys=keys))
    names = tuple(compiled.positiontup or ())
    constants = {name: value for name, value in compiled.params.items() if name not in keys}
    return _Text(compiled.string, names, constants)


@lru_cache(maxsize=100)
def _for_ids(statement: ClauseElement, count: int, dialect: Dialect) -> str:
    named = statement.params({name: [b""] * count for name in _parameters(statement)})
    return str(named.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}))


def _parameters(statement: ClauseElement) -> list[str]:
    return list(statement.compile().params)
