"""Handouts into messages: args with results filled in, token, properties."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from broker_queue.amqp.channel import Outgoing
from broker_queue.errors import Unavailable
from broker_queue.job import FailureCode
from broker_queue.protocol.job_headers import JobHeaders
from broker_queue.protocol.messages import Error
from broker_queue.protocol.names import PROTOCOL_VERSION, Names, routing_key
from scheduler import clock
from scheduler.broker.outbox import JobMessage, Outbox
from scheduler.operations.reports import Incoming
from scheduler.operations.transaction import Effects
from scheduler.rules.lifecycle import Fail
from scheduler.rules.references import PointerError, fill_in
from scheduler.rules.submission import id_text
from scheduler.store import handout
from scheduler.store.handout import Handout
from scheduler.store.writer import Reader
from scheduler.tokens import Token, Tokens

log = logging.getLogger(__name__)

REFUSED_PAUSE = 5_000
"""Milliseconds before what could not be published is tried again, if the broker refuses a queue."""

MAX_FILLED_BYTES = 12 << 20
"""Args with results filled in; RabbitMQ 4 takes messages of 16 MiB."""


class Settled(NamedTuple):
    """What became of jobs that were published, for the next transaction to note."""

    confirmed: list[tuple[int, int]]
    """Key and number of the hand-over."""
    failed: list[Incoming]
    again: set[int]
    """Keys of jobs that are to be published once more."""


class Publishing:
    """Publishes jobs in the background and says what became of each.

    Args:
        outbox: where to.
        reader: results for references are read beside the writer.
        on_settled: called when something is to be noted in the next transaction.
    """

    def __init__(  # the parts of a scheduler, put together in one place
        self,
        outbox: Outbox,
        reader: Reader,
        names: Names,
        tokens: Tokens,
        on_settled: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._reader = reader
        self._names = names
        self._tokens = tokens
        self._on_settled = on_settled
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self.in_flight = 0
        self.confirmed: list[tuple[int, int]] = []
        self.unconfirmed: set[int] = set()
        self._pause_until = 0
        self._failed: list[Incoming] = []

    @property
    def has_only_confirms(self) -> bool:
        """Whether there is something to note, and all of it can wait for a moment."""
        return bool(self.confirmed) and not self._failed

    def take(self, now: int) -> Settled:
        """Return what is to be noted; what was not confirmed once the broker can take it again."""
        again: set[int] = set()
        if self.unconfirmed and self._outbox.is_up and now >= self._pause_until:
            again, self.unconfirmed = self.unconfirmed, set()
        settled = Settled(self.confirmed, self._failed, again)
        self.confirmed, self._failed = [], []
        return settled

    def put_back(self, settled: Settled) -> None:
        """Keep what could not be noted, for the next transaction."""
        self.confirmed += settled.confirmed
        self._failed += settled.failed
        self.unconfirmed |= settled.again

    def start(self, effects: Effects) -> None:
        """Begin to publish what a transaction handed out."""
        if effects.handouts:
            self.in_flight += len(effects.handouts)
            task = asyncio.create_task(self._publish(effects.handouts, effects.dependency_ids))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def finish(self, timeout: float) -> None:
        """Wait for what is in flight, at most `timeout` seconds, then give it up."""
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=timeout)
            for task in pending:
                task.cancel()

    async def _publish(
        self, handouts: Sequence[Handout], dependencies: dict[int, list[bytes]]
    ) -> None:
        async with self._turn:  # a queue that must first be made does not change the order of jobs
            try:
                refused = await self._outbox.declare({(i.type, i.channel) for i in handouts})
            except Unavailable as error:
                log.debug("job queues could not be declared: %s", error)
                self._give_back(handouts)
                return
            if refused:
                self._pause_until = clock.now() + REFUSED_PAUSE
                self._give_back([i for i in handouts if (i.type, i.channel) in refused])
                handouts = [i for i in handouts if (i.type, i.channel) not in refused]
            publishes = asyncio.gather(
                *(self._publish_one(item, dependencies.get(item.key, [])) for item in handouts)
            )
        await publishes

    def _give_back(self, handouts: Sequence[Handout]) -> None:
        self.unconfirmed.update(item.key for item in handouts)
        self.in_flight -= len(handouts)

    async def _publish_one(self, item: Handout, dependencies: list[bytes]) -> None:
        try:
            args = await self._args(item)
            await self._outbox.publish_job(self._message(item, args, dependencies))
        except PointerError as error:
            problem = f"its args could not be filled in: {error}"
            self._failed.append(_failure(item, FailureCode.INVALID_REFERENCE, problem))
        except Unavailable as error:
            log.debug("job %s was not confirmed: %s", id_text(item.id), error)
            self.unconfirmed.add(item.key)
        except Exception as error:
            log.exception("job %s could not be made into a message", id_text(item.id))
            problem = f"the scheduler could not make it into a message: {error}"
            self._failed.append(_failure(item, FailureCode.UNPUBLISHABLE, problem))
        else:
            self.confirmed.append((item.key, item.handover))
        finally:
            self.in_flight -= 1
        self._on_settled()

    async def _args(self, item: Handout) -> bytes:
        if not item.reference_count:
            return item.args
        read = partial(handout.referenced_values, child=item.key)
        values = await self._reader.read(read)
        args = fill_in(item.args, values)
        if len(args) > MAX_FILLED_BYTES:
            raise PointerError(
                f"the args with all results filled in have {len(args)} bytes, "
                f"the limit is {MAX_FILLED_BYTES}; refer to smaller parts of the results"
            )
        return args

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
        return JobMessage(item.key, item.handover, item.type, item.channel, message)


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
    )
    return headers.to_table()


def _failure(item: Handout, code: FailureCode, problem: str) -> Incoming:
    token = Token(item.id, item.handover, item.key)
    event = Fail(item.handover, retry=False)
    return Incoming(token, event, error=Error(code=code, message=problem))
