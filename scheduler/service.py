"""One scheduler from start to stop: takes the leadership, puts its parts together, closes them in order.

What it does in between is in `scheduler.loop`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import AsyncExitStack
from functools import partial

from broker_queue.amqp.connection import Connection, Session
from broker_queue.background import Background
from broker_queue.protocol.names import Names
from scheduler import leading
from scheduler.acting import Acting
from scheduler.answering import Answering
from scheduler.broker.inbox import Inbox
from scheduler.broker.outbox import Outbox
from scheduler.broker.topology import Topology
from scheduler.hearing import Hearing
from scheduler.loop import Loop
from scheduler.publishing import Publishing
from scheduler.reconciling import Reconciling
from scheduler.reminding import Reminding
from scheduler.settings import Settings
from scheduler.store import dispatch, secret
from scheduler.store.database import Database, DatabaseDown
from scheduler.store.writer import Reader, Writer
from scheduler.tokens import Tokens

log = logging.getLogger(__name__)

READS_AT_ONCE = 4
"""Requests that read the database at a time."""


class Service:
    """One scheduler.

    Args:
        settings: of this scheduler.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopped = asyncio.Event()
        self._loop: Loop | None = None

    def stop(self) -> None:
        """Finish the batch that runs, then return from `run`."""
        self._stopped.set()
        if self._loop is not None:
            self._loop.stop()

    def _fail(self, error: DatabaseDown) -> None:
        """Have `run` raise what a reader of the loop has found."""
        if self._loop is not None:
            self._loop.fail(error)

    async def run(self) -> None:
        """Serve until stopped; waits as standby while another scheduler is the active one.

        Raises:
            ConfigurationError: database or broker cannot be used as they are set.
            DatabaseDown: the database cannot be opened or taken, or is damaged.
            leader.LostLeadership: another scheduler took over.
        """
        database = Database(self._settings.database, self._settings.database_cache)
        async with AsyncExitStack() as closing:
            writer = Writer(database)
            closing.push_async_callback(writer.close)
            takeover_after = round(self._settings.takeover_after * 1000)
            if await leading.lead(writer, database, takeover_after, self._stopped):
                await self._serve(database, writer)

    async def _serve(self, database: Database, writer: Writer) -> None:
        settings, names = self._settings, Names(self._settings.namespace)
        get = partial(secret.get, make=secrets.token_bytes)
        key = await leading.once_possible(partial(writer.transaction, get), self._stopped)
        if key is None:
            return
        tokens = Tokens(key)
        wake = asyncio.Event()
        topology = Topology(names, settings.queue_type, settings.delivery_limit, wake.set)
        async with AsyncExitStack() as closing:
            reader = Reader(database, READS_AT_ONCE, self._fail)
            closing.push_async_callback(reader.close)
            # Of its own: jobs do not wait for those who ask.
            results = Reader(database, 1, self._fail)
            closing.push_async_callback(results.close)

            async def filled() -> set[tuple[str, str]]:
                found = await reader.read(dispatch.queues_with_held)
                return {(queue.type, queue.channel) for queue in found}

            def on_up() -> None:
                wake.set()
                reminding.begin()

            background = Background()
            inbox = Inbox(names, wake, background)
            outbox = Outbox(settings.url, names, topology, filled, background, on_up)
            closing.push_async_callback(outbox.close)
            closing.push_async_callback(background.close)
            publishing = Publishing(outbox, results, names, tokens, background, wake.set)
            answering = Answering(settings, names, reader, outbox, topology, tokens)
            answering.epoch = writer.epoch or 0
            acting = Acting(outbox, tokens, answering.waiters, publishing, events=settings.events)
            lost_after = round(settings.lost_after * 1000)
            reconciling = Reconciling(outbox, topology, reader, names, lost_after, wake.set)
            reminding = Reminding(outbox, reader, tokens)
            hearing = Hearing(round(settings.lease_duration * 1000))
            loop = Loop(
                settings,
                writer,
                tokens,
                inbox,
                outbox,
                publishing,
                answering,
                acting,
                topology,
                reconciling,
                hearing,
            )
            self._loop = loop
            if self._stopped.is_set():
                loop.stop()

            name = f"{names.namespace} scheduler, consuming"
            consume = partial(_consume, names, inbox, outbox, topology, hearing)
            consuming = Connection(settings.url, name=name, setup=consume)
            closing.push_async_callback(consuming.close)
            closing.push_async_callback(answering.close)
            await outbox.start()
            await leading.once_possible(loop.begin, self._stopped)
            await consuming.start()
            background.start(outbox.feed(), "telling of events")
            background.start(hearing.run(), "watching the clock")
            background.start(reconciling.run(), "looking at the queues")
            background.start(reminding.run(), "telling of cancels")
            await background.unless_one_fails(loop.run())
            await leading.give_up(writer)
            log.info("stopped; nothing is lost")


async def _consume(  # noqa: PLR0917  # the parts that a new session concerns
    names: Names,
    inbox: Inbox,
    outbox: Outbox,
    topology: Topology,
    hearing: Hearing,
    session: Session,
) -> None:
    publishing_session = await outbox.session()  # which declares the queues
    depth = await topology.depth(publishing_session, names.requests)
    if depth is not None and depth.consumers:
        log.warning(
            "another scheduler consumes %s, so this one gets nothing until the broker "
            "has seen it go; if it has another database, give it another namespace",
            names.requests,
        )
    await inbox.consume(session)
    hearing.begin()
    log.info(
        "ready: takes requests from %s, puts jobs into %s.<type>",
        names.requests,
        names.jobs,
    )
