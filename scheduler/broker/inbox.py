"""Messages in: the callbacks only put deliveries away; the service takes them in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from broker_queue.amqp.channel import Delivery
from broker_queue.amqp.connection import Session
from broker_queue.background import Background
from broker_queue.errors import Unavailable
from broker_queue.failpoints import Point, failpoint
from broker_queue.graph import new_job_id
from broker_queue.job import parse_job_id
from broker_queue.protocol.names import Names

REQUEST_PREFETCH = 100
"""Requests may be megabytes each."""
REPORT_PREFETCH = 1_000
DEAD_PREFETCH = 200

SETTLE_PAUSE = 0.01
"""Seconds that folded reports wait for others, to be acknowledged by one frame: each of those is an
entry in the log of a quorum queue, and nobody waits for it."""

BATCH_BYTES = 32 << 10
"""A message may hold many reports or jobs; this is some two hundred (15 ms), or one large message.
More in one transaction would cost no less, and others would wait longer for theirs."""


@dataclass(slots=True)
class Batch:
    """What is folded in one transaction."""

    requests: Sequence[Delivery] = field(default_factory=list)
    reports: Sequence[Delivery] = field(default_factory=list)
    dead: Sequence[Delivery] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.requests or self.reports or self.dead)

    @property
    def deliveries(self) -> list[Delivery]:
        return [*self.requests, *self.reports, *self.dead]

    def singles(self) -> list[Batch]:
        """Return its messages as batches of one, those of each queue in their order."""
        return [
            *(Batch(reports=[delivery]) for delivery in self.reports),
            *(Batch(dead=[delivery]) for delivery in self.dead),
            *(Batch(requests=[delivery]) for delivery in self.requests),
        ]


class Inbox:
    """Consumes the scheduler's own queues; each has a channel of its own.

    Deliveries of one channel are taken and settled in order, so that one acknowledgement with
    `multiple` settles all of a batch.

    Args:
        names: of the namespace.
        arrived: set whenever something was delivered.
        background: reports are settled there.
    """

    def __init__(self, names: Names, arrived: asyncio.Event, background: Background) -> None:
        self._names = names
        self.arrived = arrived
        self._requests: deque[Delivery] = deque()
        self._reports: deque[Delivery] = deque()
        self._dead: deque[Delivery] = deque()
        self._background = background
        self._settled: list[Delivery] = []
        """Reports that were folded and are not acknowledged yet."""
        self._settling: asyncio.TimerHandle | None = None
        self.takes_requests = True
        """Otherwise they stay here, and the broker sends no more than the prefetch allows."""

    async def consume(self, session: Session) -> None:
        """Consume on a new session; what an earlier one delivered comes again, so forget it."""
        for queue, waiting, prefetch in (
            (self._names.dead, self._dead, DEAD_PREFETCH),
            (self._names.reports, self._reports, REPORT_PREFETCH),
            (self._names.requests, self._requests, REQUEST_PREFETCH),
        ):
            waiting.clear()
            channel = await session.open_channel(confirms=False)
            await channel.consume(queue, self._putter(waiting), prefetch=prefetch)

    def take(self, limit: int) -> Batch:
        """Return what has arrived: of each kind `limit` messages and `BATCH_BYTES` at most."""
        requests = _take(self._requests, limit) if self.takes_requests else []
        return Batch(requests, _take(self._reports, limit), _take(self._dead, limit))

    def take_requests(self, is_wanted: Callable[[str], bool]) -> list[Delivery]:
        """Return the requests that have arrived and whose type is wanted; the others stay."""
        wanted = [delivery for delivery in self._requests if is_wanted(delivery.type or "")]
        for delivery in wanted:
            self._requests.remove(delivery)
        return wanted

    def __len__(self) -> int:
        """How many messages can be taken."""
        requests = len(self._requests) if self.takes_requests else 0
        return requests + len(self._reports) + len(self._dead)

    async def acknowledge(self, batch: Batch, *, multiple: bool = True) -> None:
        """Settle a batch whose effects are committed; reports, a little later.

        Without `multiple`, it is one message, and what came before it is not settled yet. A channel
        that was lost meanwhile means that its messages come again; folding them twice changes nothing.
        """
        if multiple:
            await self._acknowledge_last([*batch.requests, *batch.dead])
            self._settled += batch.reports
            if len(self._settled) >= REPORT_PREFETCH // 4:
                await self.settle()
            elif self._settled and self._settling is None:
                loop = asyncio.get_running_loop()
                self._settling = loop.call_later(SETTLE_PAUSE, self._settle_soon)
        else:
            await self._acknowledge_last(batch.deliveries, multiple=False)

    async def settle(self) -> None:
        """Settle the reports that wait for more of them, to be settled together."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        settled, self._settled = self._settled, []
        await self._acknowledge_last([each for each in settled if each.channel.is_open])

    def _settle_soon(self) -> None:
        self._background.start(self.settle(), "settling reports")

    async def _acknowledge_last(
        self, deliveries: Sequence[Delivery], *, multiple: bool = True
    ) -> None:
        last = {id(delivery.channel): delivery for delivery in deliveries}
        for delivery in last.values():
            failpoint(Point.BEFORE_ACK)
            try:
                await delivery.acknowledge(multiple=multiple)
                failpoint(Point.AFTER_ACK)
            except Unavailable:
                delivery.channel.session.fail("a channel was lost before its messages were settled")

    def _putter(self, waiting: deque[Delivery]) -> Callable[[Delivery], None]:
        are_requests = waiting is self._requests

        def put(delivery: Delivery) -> None:
            if are_requests and not delivery.type:
                delivery = _identified(delivery)
            waiting.append(delivery)
            self.arrived.set()

        return put


def _identified(delivery: Delivery) -> Delivery:
    """Return a bare request with a message id from which its jobs can have theirs.

    It is made here, once: a batch may be read and folded twice, when a commit was in doubt.
    """
    try:
        message_id = parse_job_id(delivery.message_id or "")
    except ValueError:
        message_id = new_job_id()
    return replace(delivery, message_id=message_id)


def _take(waiting: deque[Delivery], limit: int) -> list[Delivery]:
    taken: list[Delivery] = []
    size = 0
    while waiting and len(taken) < limit and size < BATCH_BYTES:
        taken.append(waiting.popleft())
        size += len(taken[-1].body)
    return taken
