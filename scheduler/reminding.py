"""Telling workers once more what is canceled, whenever the broker is there again.

What workers are told is not persistent: it is lost with a broker, or with the scheduler that was
about to say it. A worker that connects anew is told in the answer to its `hello`; this is for one
that kept its connection.
"""

from __future__ import annotations

import asyncio
import logging

from broker_queue.amqp.failures import Unroutable
from broker_queue.errors import Unavailable
from scheduler.broker.outbox import Outbox
from scheduler.store import dispatch
from scheduler.store.database import DatabaseDown
from scheduler.store.dispatch import QueueRow
from scheduler.store.writer import Reader
from scheduler.tokens import Tokens

log = logging.getLogger(__name__)

PAUSE = 5.0
"""Seconds before what failed is tried again."""


class Reminding:
    """Tells workers of canceled jobs that one of them may still receive, or run.

    There are no more of them for each queue than its window and its workers hold.

    Args:
        outbox: where to.
        reader: of the database.
        tokens: name the hand-overs.
    """

    def __init__(self, outbox: Outbox, reader: Reader, tokens: Tokens) -> None:
        self._outbox = outbox
        self._reader = reader
        self._tokens = tokens
        self._wanted = asyncio.Event()

    def begin(self) -> None:
        """Tell them soon: there is a new connection."""
        self._wanted.set()

    async def run(self) -> None:
        """Tell them each time that it is wanted, until this is canceled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                for queue in await self._reader.read(dispatch.queues_with_lying):
                    await self._remind(queue)
            except (Unavailable, Unroutable, DatabaseDown) as error:
                log.debug("workers were not told again of canceled jobs: %s", error)
                self._wanted.set()
                await asyncio.sleep(PAUSE)

    async def _remind(self, queue: QueueRow) -> None:
        """Tell the workers of one queue, so that one queue's jobs are in memory at a time."""
        lying = await self._reader.read(
            lambda connection: dispatch.lying_jobs(connection, [queue.key])
        )
        await self._outbox.revoke(
            (queue.type, queue.channel, self._tokens.make(job.id, job.handover, job.key))
            for job in lying
        )
