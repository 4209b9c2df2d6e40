"""Removing what a test left on the broker."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from broker_queue.amqp.connection import Connection, Session
from broker_queue.protocol.names import Names


async def delete_namespace(url: str, namespace: str, database: Path) -> None:
    """Delete the exchanges and queues of a namespace; the job queues are named in the database."""
    names = Names(namespace)
    queues = [names.requests, names.reports, names.dead, names.parked]
    queues += [names.job_queue(*known) for known in _job_queues(database)]
    exchanges = [names.requests, names.jobs, names.reports, names.control, names.events, names.dead]

    async def nothing(_session: Session) -> None:
        return None

    connection = Connection(url, name=f"cleaning {namespace}", setup=nothing)
    await connection.start(fail_fast=True)
    try:
        channel = await (await connection.session()).open_channel()
        for queue in queues:
            await channel.underlying.queue_delete(queue)
        for exchange in exchanges:
            await channel.underlying.exchange_delete(exchange)
    finally:
        await connection.close()


def _job_queues(database: Path) -> list[tuple[str, str]]:
    if not database.exists():
        return []
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT type, channel FROM queue").fetchall()
    connection.close()
    return rows
