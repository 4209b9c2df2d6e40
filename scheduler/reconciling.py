"""Finding jobs whose message is gone, though nobody said so: a purge, lost data, a lost dead letter.

AMQP does not say which messages a worker holds. What can be known: when a queue has no message
ready, each job that was handed out is with a worker, or lost. A worker that neither reports nor
gives it back, for longer than the broker lets it hold a message, does not have it. So a job that
was handed out when its queue was seen empty, and is silent in the same hand-over when the queue is
seen empty again after `lost_after`, counts as lost. A job that is held by lease is watched by that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from broker_queue.errors import Unavailable
from broker_queue.protocol.names import Names
from scheduler import clock
from scheduler.broker.outbox import Outbox
from scheduler.broker.topology import Topology
from scheduler.store import dispatch
from scheduler.store.database import DatabaseDown
from scheduler.store.dispatch import HeldJob, QueueRow
from scheduler.store.writer import Reader

log = logging.getLogger(__name__)

LOOKS = 10
"""In the time after which a job counts as lost."""

LONGEST_PAUSE = 60.0
"""Seconds between looks."""

MAX_HELD = 10_000
"""Jobs of one queue that are looked at; others have their turn when these have ended."""


class Reconciling:
    """Looks at the queues now and then, and names jobs whose messages are lost.

    Args:
        lost_after: milliseconds of silence.
        wake: called when there is something to take.
    """

    def __init__(  # noqa: PLR0917  # the parts of a scheduler, put together in one place
        self,
        outbox: Outbox,
        topology: Topology,
        reader: Reader,
        names: Names,
        lost_after: int,
        wake: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._topology = topology
        self._reader = reader
        self._names = names
        self._lost_after = lost_after
        self._wake = wake
        self._silent_since: dict[int, dict[HeldJob, int]] = {}
        """By queue: the jobs that were handed out when it was first seen empty, and when that was."""
        self._lost: list[HeldJob] = []

    def take(self) -> list[HeldJob]:
        """Return what is lost, for the next transaction to hand out anew."""
        lost, self._lost = self._lost, []
        return lost

    def put_back(self, lost: list[HeldJob]) -> None:
        """Keep what could not be noted."""
        self._lost += lost

    async def run(self) -> None:
        """Look until this is canceled."""
        pause = min(LONGEST_PAUSE, self._lost_after / 1000 / LOOKS)
        while True:
            await asyncio.sleep(pause)
            try:
                await self.look()
            except (Unavailable, DatabaseDown) as error:
                log.debug("the queues were not looked at: %s", error)

    async def look(self) -> None:
        """Look at every queue that has jobs handed out.

        Raises:
            DatabaseDown: it does not work.
            Unavailable: the broker does not answer.
        """
        queues = await self._reader.read(dispatch.queues_with_held)
        keys = {queue.key for queue in queues}
        for gone in self._silent_since.keys() - keys:
            del self._silent_since[gone]
        for queue in queues:
            await self._look_at(queue)

    async def _look_at(self, queue: QueueRow) -> None:
        name = self._names.job_queue(queue.type, queue.channel)
        depth = await self._topology.depth(await self._outbox.session(), name)
        if depth is None:
            await self._outbox.declare([(queue.type, queue.channel)], anew=True)
        elif not depth.messages:
            held = await self._reader.read(
                lambda connection: dispatch.held(connection, queue.key, MAX_HELD)
            )
            self._compare(queue.key, held, name)

    def _compare(self, key: int, held: list[HeldJob], name: str) -> None:
        now = clock.now()
        before = self._silent_since.get(key, {})
        since = {job: before.get(job, now) for job in held}
        lost = [job for job, at in since.items() if now >= at + self._lost_after]
        self._silent_since[key] = {job: since[job] for job in since.keys() - set(lost)}
        if lost:
            log.warning(
                "%d jobs of %s were handed out, their queue is empty, and nobody has reported on "
                "them for %g s: those that are not canceled are handed out anew",
                len(lost),
                name,
                self._lost_after / 1000,
            )
            self._lost += lost
            self._wake()
