"""One active scheduler for each database: a leadership row with an epoch.

Taking the leadership raises the epoch by one. Every later transaction of the new holder checks that the
epoch is still its own, in the transaction itself; so a holder that was paused, and whose leadership was
taken meanwhile, fails its next write in place of doing it. Times are this machine's clock.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from sqlalchemy import Connection, bindparam, insert, select, update

from broker_queue.errors import BrokerQueueError
from scheduler.store.statements import change, fetch
from scheduler.store.tables import leader

_EPOCH = select(leader.c.epoch).where(leader.c.key == 1)


class LostLeadership(BrokerQueueError):
    """Another scheduler has taken over this database."""


def this_holder() -> str:
    """Return the name under which this process holds the leadership."""
    return f"{socket.gethostname()}:{os.getpid()}"


def take(connection: Connection, holder: str, now: int, until: int) -> int | None:
    """Take the leadership if it is free or lapsed, or its holder is gone; return the new epoch."""
    row = connection.execute(select(leader)).one_or_none()
    if row is None:
        connection.execute(insert(leader).values(key=1, holder=holder, epoch=1, expires_at=until))
        return 1
    if row.expires_at > now and not _is_gone(row.holder, holder):
        return None
    epoch = int(row.epoch) + 1
    connection.execute(update(leader).values(holder=holder, epoch=epoch, expires_at=until))
    return epoch


def holder(connection: Connection) -> tuple[str, int] | None:
    """Return who holds the leadership, and until when."""
    row = connection.execute(select(leader.c.holder, leader.c.expires_at)).one_or_none()
    return None if row is None else (row.holder, row.expires_at)


def renew(connection: Connection, until: int) -> None:
    """Prolong the leadership; the transaction has checked the epoch."""
    change(connection, _RENEW, until=until)


def give_up(connection: Connection) -> None:
    """Let the leadership lapse now, so that a standby need not wait."""
    change(connection, _RENEW, until=0)


def check_epoch(connection: Connection, epoch: int | None) -> None:
    """Check that this transaction's writer is still the active one.

    Raises:
        LostLeadership: it is not.
    """
    current = next((epoch for (epoch,) in fetch(connection, _EPOCH)), None)
    if current != epoch:
        raise LostLeadership(
            f"another scheduler has taken over this database (epoch {current}, ours was {epoch})"
        )


_RENEW = update(leader).values(expires_at=bindparam("until"))


def _is_gone(holder: str, candidate: str) -> bool:
    """Whether the holder was a process of this machine that no longer exists.

    Spares a restart after a crash the rest of the leadership. A process id that was used again only
    means that the leadership is waited for.
    """
    host, _, pid = holder.rpartition(":")
    if holder == candidate:
        return True  # the same process id again (a restarted container): cannot be another one
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    with suppress(PermissionError):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
    return False
