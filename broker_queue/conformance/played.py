"""The scheduler as the kit plays it: it hands out jobs, and answers as a check wants it to."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from broker_queue.amqp.channel import Delivery, Outgoing
from broker_queue.amqp.failures import as_unavailable
from broker_queue.conformance.journal import FINAL
from broker_queue.conformance.place import Place
from broker_queue.errors import Unavailable
from broker_queue.graph import new_job_id
from broker_queue.job import State
from broker_queue.protocol.messages import CancelControl, Error, Message, Welcome, encode
from broker_queue.protocol.names import PROTOCOL_VERSION, reply_to_is_allowed
from broker_queue.protocol.reports import ReportAnswer
from broker_queue.protocol.topology import Queue

T = TypeVar("T")

HELLO_INTERVAL = 1.0
LEASE_AFTER = 1.0
LEASE = 2.0
"""Seconds, as they are told to the worker: short, so that a rehearsal is."""

DELIVERY_LIMIT = 20

CLEANING_TIMEOUT = 5.0
"""Seconds for a new connection, if one was lost, over which to delete what was made."""


@dataclass(frozen=True, slots=True)
class Conduct:
    """How reports on one job are answered.

    Attributes:
        verdicts: by kind of report; where nothing is said, `accepted` until its end was reported, then `stale`.
        delay: seconds before the answer.
        unanswered: how many, from the first on, are not answered.
        late: kind of report that is answered only when something else is asked, just before that.
    """

    verdicts: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    unanswered: int = 0
    late: str = ""


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A job that was put into the queue."""

    token: str
    args: bytes
    at: float
    order: int
    """Entries in the journal before."""


class _Answer(NamedTuple):
    question: Delivery
    kind: str
    body: Message


class PlayedScheduler:
    """Reads requests and reports for the length of the block.

    Args:
        place: where it does.
        on_change: called when something has arrived.
    """

    def __init__(self, place: Place, on_change: Callable[[], None]) -> None:
        self._place = place
        self._names = place.names
        self._on_change = on_change
        self._numbers = itertools.count(1)
        self._answering: set[asyncio.Task[None]] = set()
        self._conducts: dict[str, Conduct] = {}
        self._late: dict[str, list[_Answer]] = {}
        """By token: answers that wait for the next question."""
        self._ended: set[str] = set()
        """Tokens of jobs whose end was reported: what else is asked about them is stale."""
        self.canceled: list[str] = []
        """Tokens that each answer to a ``hello`` names."""
        self.greeted = 0
        """Answers to ``hello`` so far."""
        self.answered: dict[tuple[str, str], float] = {}
        """When a report was answered: by token and kind."""

    def new_token(self) -> str:
        """Return the token of a job that may be handed out with it later."""
        return f"{new_job_id()}.1.{next(self._numbers)}.rehearsal"

    def conduct(self, token: str, conduct: Conduct) -> None:
        """Answer reports on this job so from now on."""
        self._conducts[token] = conduct

    def end(self, token: str) -> None:
        """Note that the end of a job was reported."""
        self._ended.add(token)

    async def hand_out(
        self, args: bytes, *, token: str, order: int, headers: dict[str, Any] | None = None
    ) -> HandedOut:
        """Put a job into the queue of its type.

        Args:
            args: JSON text.
            token: of the job.
            order: what is in the journal before.
            headers: beside the usual ones, or in place of them.

        Raises:
            Unavailable: the broker does not take it.
        """
        handed_out = HandedOut(token, args, time.monotonic(), order)
        usual = {
            "protocol": PROTOCOL_VERSION,
            "attempt": 1,
            "max_attempts": 1,
            "dependency_count": 0,
        }
        message = Outgoing(
            exchange=self._names.jobs,
            routing_key=self._place.job_type,
            body=args,
            type=self._place.job_type,
            message_id=token.partition(".")[0],
            correlation_id=token,
            reply_to=self._names.reports,
            headers=usual | (headers or {}),
            timestamp=int(time.time()),  # noqa: TID251  # no scheduler's clock is here
        )
        await self._place.channel.publish(message)
        return handed_out

    async def cancel(self, *tokens: str) -> None:
        """Tell all workers of the type that these jobs are canceled."""
        await self.tell_workers(encode(CancelControl(tokens=list(tokens))), "cancel")

    async def tell_workers(self, body: bytes, kind: str) -> None:
        """Send a control message to all workers of the type."""
        await self._place.channel.publish(
            Outgoing(
                exchange=self._names.control,
                routing_key=self._place.job_type,
                body=body,
                type=kind,
                mandatory=False,
                persistent=False,
            )
        )

    async def __aenter__(self) -> Self:
        await self._place.channel.consume(
            self._names.requests, self._on_request, prefetch=0, no_ack=True
        )
        await self._place.channel.consume(
            self._names.reports, self._on_report, prefetch=0, no_ack=True
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def provide(self, queue: str) -> None:
        """Make the queue of another type that the worker serves, if this is one and it is not there."""
        self._soon(self._place.provide(self._place.job_queues([queue])))

    def _on_request(self, request: Delivery) -> None:
        if request.type == "hello":
            self._soon(self._greet(request))
        else:
            error = Error(code="unavailable", message="this is a rehearsal: only hello is answered")
            self._soon(self._answer([_Answer(request, "error", error)]))
        self._on_change()

    async def _greet(self, hello: Delivery) -> None:
        """Answer once the worker's queues are there."""
        queues = self._place.job_queues(
            self._names.job_queue(*served) for served in _served(hello.body)
        )
        await self._place.provide(queues)
        self.greeted += 1
        await self._answer([_Answer(hello, "ok", self._welcome(queues))])
        self._on_change()

    def _welcome(self, queues: Iterable[Queue]) -> Message:
        return Welcome(
            queues=[queue.name for queue in queues],
            protocol=PROTOCOL_VERSION,
            hello_interval=HELLO_INTERVAL,
            lease_after=LEASE_AFTER,
            canceled=list(self.canceled),
        )

    def _on_report(self, report: Delivery) -> None:
        token, kind = report.correlation_id or "", report.type or "finished"
        conduct = self._conducts.get(token, Conduct())
        if report.reply_to and conduct.unanswered:
            self._conducts[token] = replace(conduct, unanswered=conduct.unanswered - 1)
            return
        is_over = token in self._ended and kind not in FINAL
        verdict = conduct.verdicts.get(kind, "stale" if is_over else "accepted")
        lease = LEASE if verdict == "accepted" and kind in ("lease", "heartbeat") else None
        state = State.RUNNING if verdict == "accepted" else State.CANCELED
        answer = _Answer(report, verdict, ReportAnswer(state=state, lease=lease))
        if kind == conduct.late:
            self._late.setdefault(token, []).append(answer)
        elif report.reply_to:
            answers = [*self._late.pop(token, ()), answer]
            self._soon(self._answer(answers, conduct.delay))
        self._on_change()

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_unless_broker_is_lost(work))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, answers: Sequence[_Answer], delay: float = 0.0) -> None:
        await asyncio.sleep(delay)
        for question, kind, body in answers:
            if not (question.reply_to and reply_to_is_allowed(question.reply_to)):
                continue
            token, message_id = question.correlation_id, question.message_id
            asked = (token or "", question.type or "finished")
            self.answered.setdefault(asked, time.monotonic())
            await self._place.channel.publish(
                Outgoing.answer(question.reply_to, token, message_id, kind, encode(body))
            )


async def _unless_broker_is_lost(work: Coroutine[Any, Any, None]) -> None:
    """Do what nobody waits for; the checks learn by themselves that the broker is lost."""
    with suppress(Unavailable):
        async with as_unavailable("not done"):
            await work


def _served(hello: bytes) -> list[tuple[str, str]]:
    """Return types and channels of a worker, whatever else is wrong with what it says of itself."""
    try:
        told = json.loads(hello)
        types, channels = told["types"], told.get("channels", [""])
        return [(str(kind), str(channel)) for kind in types for channel in channels]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
