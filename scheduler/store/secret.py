"""The secret of this database's tokens: made once, so that tokens outlive a restart."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, insert, select, update

from scheduler.store.tables import setting

NAME = "token secret"
BYTES = 32


def get(connection: Connection, make: Callable[[int], bytes]) -> bytes:
    """Return the secret; `make` gives random bytes when there is none yet."""
    found = connection.execute(
        select(setting.c.value).where(setting.c.name == NAME)
    ).scalar_one_or_none()
    if found is not None:
        return bytes(found)
    fresh = make(BYTES)
    connection.execute(insert(setting).values(name=NAME, value=fresh))
    return fresh


def renew(connection: Connection, make: Callable[[int], bytes]) -> None:
    """Make all tokens void that were ever given out."""
    connection.execute(update(setting).where(setting.c.name == NAME).values(value=make(BYTES)))
