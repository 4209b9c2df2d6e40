"""Handouts into messages: args with results filled in, token, properties."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from broker_queue.amqp.channel import Outgoing
from broker_queue.background import Background
from broker_queue.errors import BrokerQueueError, Unavailable
from broker_queue.job import FailureCode
from broker_queue.protocol.job_headers import JobHeaders
from broker_queue.protocol.messages import Error
from broker_queue.protocol.names import PROTOCOL_VERSION, Names, routing_key
from scheduler import clock
from scheduler.broker.outbox import JobMessage, Outbox
from scheduler.operations.reports import Incoming
from scheduler.operations.transaction import Effects
from scheduler.rules.lifecycle import Fail
from scheduler.rules.references import Parts, PointerError, fill_in
from scheduler.rules.submission import id_text
from scheduler.store import dispatch
from scheduler.store.database import Connection, DatabaseDown
from scheduler.store.dispatch import NO_ROOM, Handout, ReferenceRow, Room
from scheduler.store.writer import Reader
from scheduler.tokens import Token, Tokens

log = logging.getLogger(__name__)

MAX_JOBS = 400
"""Jobs on their way to the broker at a time; their args are in memory."""

MAX_BYTES = 64 << 20
"""Args on their way to the broker at a time, before results are filled in."""

FILLED_AT_ONCE = 4
"""Jobs whose args are being filled in with results, and published: up to 20 MiB each."""

RESULTS_BYTES = 4 << 20
"""Results that are read at a time to fill in the args of a job."""

CONFIRM_PAUSE = 0.05
"""Seconds that confirms may wait for other work to share its transaction."""

PAUSE = 1_000
"""Milliseconds before a job is published again that the broker refused or did not confirm."""

REFUSED_PAUSE = 5_000
"""Milliseconds before a job is published again whose queue the broker refuses."""

MAX_FILLED_BYTES = 12 << 20
"""Args with results filled in; RabbitMQ 4 takes messages of 16 MiB."""


class Settled(NamedTuple):
    """What became of jobs that were published, for the next transaction to note."""

    confirmed: list[tuple[int, int]]
    """Key and number of the hand-over."""
    failed: list[Incoming]
    again: list[int]
    """Keys of jobs that are to be published once more."""


class Publishing:
    """Publishes jobs in the background and says what became of each.

    Args:
        outbox: where to.
        reader: results for references are read beside the writer.
        background: what is published at a time goes on there.
        on_settled: called when something is to be noted, or handed out, in a transaction.
    """

    def __init__(  # noqa: PLR0917  # the parts of a scheduler, put together in one place
        self,
        outbox: Outbox,
        reader: Reader,
        names: Names,
        tokens: Tokens,
        background: Background,
        on_settled: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._reader = reader
        self._names = names
        self._tokens = tokens
        self._background = background
        self._on_settled = on_settled
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._filling = asyncio.Semaphore(FILLED_AT_ONCE)
        self._in_flight = Room(0, 0)
        self._has_landed = asyncio.Event()
        self._confirmed: list[tuple[int, int]] = []
        self._failed: list[Incoming] = []
        self._noting: asyncio.TimerHandle | None = None
        self._unconfirmed: dict[int, int] = {}
        """Jobs that are to be published again → not before this time (ms since the epoch)."""

    @property
    def room(self) -> Room:
        """How much more may be published: neither more jobs nor more bytes than fit in memory.

        Nothing while there is no broker: what is in line is not lost, and a cancel reaches it.
        """
        if not self._outbox.is_up:
            return NO_ROOM
        jobs, size = self._in_flight
        return Room(max(0, MAX_JOBS - jobs), max(0, MAX_BYTES - size))

    @property
    def has_room(self) -> bool:
        """Whether it is worth a transaction to hand out more."""
        room = self.room
        return room.jobs > MAX_JOBS // 2 and room.bytes > MAX_BYTES // 2

    @property
    def next_attempt(self) -> int | None:
        """When something is to be published again; None if nothing is, or nothing can be now."""
        if not self._unconfirmed or not self.has_room:
            return None
        return min(self._unconfirmed.values())

    def take(self, now: int) -> Settled:
        """Return what is to be noted; what was not confirmed once the broker can take it again."""
        again: list[int] = []
        if self.has_room:
            due = (key for key, not_before in self._unconfirmed.items() if not_before <= now)
            again = list(islice(due, self.room.jobs))
            for key in again:
                del self._unconfirmed[key]
        if self._noting is not None:
            self._noting.cancel()
            self._noting = None
        settled = Settled(self._confirmed, self._failed, again)
        self._confirmed, self._failed = [], []
        return settled

    def put_back(self, settled: Settled) -> None:
        """Keep what could not be noted, for the next transaction."""
        self._confirmed += settled.confirmed
        self._failed += settled.failed
        self.postpone(settled.again)

    def postpone(self, keys: Iterable[int], pause: int = 0) -> None:
        """Publish these jobs again, after a pause (milliseconds)."""
        not_before = clock.now() + pause
        self._unconfirmed.update((key, not_before) for key in keys)

    def start(self, effects: Effects) -> None:
        """Begin to publish what a transaction handed out."""
        if effects.handouts:
            self._count(effects.handouts, 1)
            work = self._publish(effects.handouts, effects.dependency_ids)
            task = self._background.start(work, "publishing jobs")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def finish(self, timeout: float) -> list[tuple[int, int]]:
        """Wait for what is in flight, at most `timeout` seconds; return what was confirmed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._in_flight.jobs:
                    self._has_landed.clear()
                    await self._has_landed.wait()
        for task in self._tasks:
            task.cancel()
        if self._noting is not None:
            self._noting.cancel()
        confirmed, self._confirmed = self._confirmed, []
        return confirmed

    async def _publish(
        self, handouts: Sequence[Handout], dependencies: dict[int, list[bytes]]
    ) -> None:
        async with self._turn:  # a queue that must first be made does not change the order of jobs
            try:
                refused = await self._outbox.declare({(i.type, i.channel) for i in handouts})
            except Exception as error:  # none of them may be left behind
                level = logging.DEBUG if isinstance(error, Unavailable) else logging.ERROR
                log.log(
                    level,
                    "job queues could not be declared: %s",
                    error,
                    exc_info=level == logging.ERROR,
                )
                self._give_back(handouts)
                return
            if refused:
                self._give_back([i for i in handouts if (i.type, i.channel) in refused])
                handouts = [i for i in handouts if (i.type, i.channel) not in refused]
            filling = asyncio.gather(
                *(
                    self._publish_filled(item, dependencies.get(item.key, []))
                    for item in handouts
                    if item.reference_count
                )
            )
            plain = [item for item in handouts if not item.reference_count]
            await self._publish_all(plain, dependencies)
        await filling

    def _give_back(self, handouts: Sequence[Handout]) -> None:
        self.postpone((item.key for item in handouts), REFUSED_PAUSE)
        self._count(handouts, -1)

    def _count(self, handouts: Sequence[Handout], sign: int) -> None:
        size = sum(len(item.args) for item in handouts)
        jobs, total = self._in_flight
        self._in_flight = Room(jobs + sign * len(handouts), total + sign * size)

    async def _publish_all(
        self, handouts: Sequence[Handout], dependencies: dict[int, list[bytes]]
    ) -> None:
        messages = []
        for item in handouts:
            try:
                messages.append(self._message(item, item.args, dependencies.get(item.key, [])))
            except Exception as error:
                self._note_failure(item, error)
        await self._outbox.publish_jobs(messages, self._settle)

    async def _publish_filled(self, item: Handout, dependencies: list[bytes]) -> None:
        try:
            async with self._filling:
                message = self._message(item, await self._filled(item), dependencies)
                await self._publish_long(message)
        except DatabaseDown as error:
            log.debug("job %s was not published: %s", id_text(item.id), error)
            self.postpone([item.key], PAUSE)
            self._landed(len(item.args))
        except Exception as error:
            self._note_failure(item, error)

    async def _publish_long(self, message: JobMessage) -> None:
        """Return once a message is settled that may be long, and need not be in memory any more."""
        settled = asyncio.Event()

        def settle(job: JobMessage, error: BrokerQueueError | None) -> None:
            self._settle(job, error)
            settled.set()

        await self._outbox.publish_jobs([message], settle)
        await settled.wait()

    def _settle(self, job: JobMessage, error: BrokerQueueError | None) -> None:
        if error is None:
            self._confirmed.append((job.key, job.handover))
        else:
            log.debug("job %s was not published: %s", job.message.message_id, error)
            self.postpone([job.key], PAUSE)
        self._landed(job.size)

    def _note_failure(self, item: Handout, error: Exception) -> None:
        """Have a job fail that no message can be made of."""
        if isinstance(error, PointerError):
            code, problem = FailureCode.INVALID_REFERENCE, "its args could not be filled in"
        else:
            log.error("job %s could not be made into a message", id_text(item.id), exc_info=error)
            code, problem = (
                FailureCode.UNPUBLISHABLE,
                "the scheduler could not make it into a message",
            )
        self._failed.append(_failure(item, code, f"{problem}: {error}"))
        self._landed(len(item.args))

    def _landed(self, size: int) -> None:
        jobs, total = self._in_flight
        self._in_flight = Room(jobs - 1, total - size)
        self._has_landed.set()
        gave_room = jobs >= MAX_JOBS // 2 or total >= MAX_BYTES // 2
        if self._failed or (gave_room and self.has_room):
            self._on_settled()
        elif self._noting is None:
            loop = asyncio.get_running_loop()
            self._noting = loop.call_later(CONFIRM_PAUSE, self._on_settled)

    async def _filled(self, item: Handout) -> bytes:
        """Return a job's args with the results that it refers to in place."""

        def collect(connection: Connection) -> dict[str, bytes]:
            wanted: dict[int, list[ReferenceRow]] = {}
            for row in dispatch.references(connection, [item.key]).get(item.key, []):
                wanted.setdefault(row.parent_key, []).append(row)
            parts = Parts(MAX_FILLED_BYTES - len(item.args))
            for piece in dispatch.results(connection, list(wanted), RESULTS_BYTES):
                for parent, result in piece.items():
                    rows = wanted.pop(parent)
                    parts.take(result, [(row.place, row.pointer) for row in rows])
            for rows in wanted.values():  # milestones
                parts.take(b"null", [(row.place, row.pointer) for row in rows])
            return parts.found

        return fill_in(item.args, await self._reader.read(collect))

    def _message(self, item: Handout, args: bytes, dependencies: list[bytes]) -> JobMessage:
        message = Outgoing(
            exchange=self._names.jobs,
            routing_key=routing_key(item.type, item.channel),
            body=args,
            type=item.type,
            message_id=id_text(item.id),
            correlation_id=self._tokens.make(item.id, item.handover, item.key),
            reply_to=self._names.reports,
            headers=_headers(item, dependencies),
            priority=item.priority,
            timestamp=clock.now() // 1000,
        )
        return JobMessage(item.key, item.handover, item.type, item.channel, len(item.args), message)


def _headers(item: Handout, dependencies: list[bytes]) -> dict[str, Any]:
    headers = JobHeaders(
        protocol=PROTOCOL_VERSION,
        attempt=item.attempt,
        max_attempts=item.max_attempts,
        dependency_count=item.dependency_count,
        dependencies=[id_text(identity) for identity in dependencies],
        timeout=None if item.timeout is None else item.timeout / 1000,
        channel=item.channel,
        name=item.name,
        graph=None if item.graph_id is None else id_text(item.graph_id),
        traceparent=item.traceparent,
        republished=item.republished,
    )
    return headers.to_table()


def _failure(item: Handout, code: FailureCode, problem: str) -> Incoming:
    token = Token(item.id, item.handover, item.key)
    event = Fail(item.handover, retry=False)
    return Incoming(token, event, error=Error(code=code, message=problem))
