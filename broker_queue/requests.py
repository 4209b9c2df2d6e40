"""Requests and reports with their answers, over direct reply-to.

Whoever asks publishes on the channel that also consumes the broker's pseudo-queue for answers
(https://www.rabbitmq.com/docs/direct-reply-to), so an answer finds its way without a queue of ours.
An answer is lost with the connection. Every request may be repeated, so one whose answer was lost
is sent again with the same body as soon as there is a connection, until its time is up.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from msgspec import UnsetType

from broker_queue.amqp.channel import PUBLISH_TIMEOUT, Channel, Delivery, Outgoing
from broker_queue.amqp.connection import Connection, Session
from broker_queue.amqp.failures import Unroutable
from broker_queue.errors import Invalid, ProtocolError, RequestError, Unavailable, request_error
from broker_queue.job import State, Verdict
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import Error, Message, encode
from broker_queue.protocol.names import REPLY_TO_DIRECT, REPORTS_KEY, REQUESTS_KEY, Names
from broker_queue.protocol.operations import REQUESTS
from broker_queue.protocol.reports import ReportAnswer

T = TypeVar("T", bound=Message)

UNROUTABLE_PAUSE = 0.5
"""Seconds before a request is sent again that a broker without its data could not route."""

PAUSE = 0.1
"""Seconds before a request whose connection was lost is sent again."""


class _Lost(Exception):
    """The connection was lost before the answer came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came.

    Attributes:
        was_repeated: the message was sent more than once, so an earlier one may have counted.
    """

    type: str
    body: bytes
    was_repeated: bool


class Reported(NamedTuple):
    """What became of a report.

    Attributes:
        state: the job's, if there is one.
        was_repeated: it was sent more than once, so an earlier one may have counted.
        lease: seconds that a lease or heartbeat is good for.
    """

    verdict: Verdict
    state: State | None
    was_repeated: bool
    lease: float | None = None


class _Line:
    """The channel of one session on which questions go out and answers come in."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._waiting: dict[str, asyncio.Future[Delivery]] = {}

    async def exchange(self, message: Outgoing, timeout: float | None) -> Delivery:
        """Publish `message` and return what is answered.

        Raises:
            TimeoutError: it was published, but no answer came in time.
            Unroutable: nobody could ever answer it.
            _Lost: the connection was lost meanwhile.
            Unavailable: the broker did not take it in time.
        """
        answer: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        message.message_id = key = uuid4().hex
        self._waiting[key] = answer
        try:
            async with asyncio.timeout(timeout):
                await self._publish(message, timeout)
                return await answer
        finally:
            del self._waiting[key]
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # retrieved, or asyncio logs that nobody did

    def take_answer(self, delivery: Delivery) -> None:
        # By the `correlation_id`, all answers about one job would be alike.
        answer = self._waiting.get(delivery.message_id or "")
        if answer is not None and not answer.done():
            answer.set_result(delivery)

    def end(self, lost: asyncio.Future[str]) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_Lost(lost.result()))

    async def _publish(self, message: Outgoing, timeout: float | None) -> None:
        try:
            await self.channel.publish(message, min(PUBLISH_TIMEOUT, timeout or PUBLISH_TIMEOUT))
        except Unavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                raise
            raise _Lost(str(error)) from error


class Requests:
    """Asks the scheduler of one namespace; keeps the connection up until it is closed.

    Args:
        url: of the broker.
        names: of the namespace.
        name: of this client, shown on the broker's management page.
    """

    def __init__(self, url: str, names: Names, *, name: str) -> None:
        self.names = names
        self._url = url
        self._name = name
        self._connection = Connection(url, name=name, setup=self._set_up)
        self._line: _Line | None = None
        self._is_open = False
        self._was_answered = False
        """There is a scheduler: if the broker forgets it, its data are lost, and it comes back."""

    @property
    def is_open(self) -> bool:
        """Whether it was connected, and not closed since."""
        return self._is_open

    async def connect(self, timeout: float) -> None:
        """Connect.

        Raises:
            Unavailable: the broker cannot be reached.
        """
        if self._is_open:
            return
        self._connection = Connection(self._url, name=self._name, setup=self._set_up)
        await self._connection.start(fail_fast=True, timeout=timeout)
        self._is_open = True

    async def start(self) -> None:
        """Begin to connect, however long that takes; the log says how it stands."""
        self._is_open = True
        await self._connection.start()

    @property
    def is_up(self) -> bool:
        """Whether there is a connection at present."""
        return self._connection.is_up

    async def close(self) -> None:
        """Close for good; who still waits for an answer is told `Unavailable`."""
        self._is_open = False
        await self._connection.close()

    async def session(self, timeout: float | None) -> Session:
        """Return the session that is up.

        Raises:
            Unavailable: none came up in time, or this was closed.
        """
        deadline = _deadline(timeout)
        while True:
            self._refuse_closed()
            session = await self._connection.session(min(_remaining(deadline), 3600))
            if not session.lost.done():
                return session
            await asyncio.sleep(PAUSE)

    async def ask(
        self, operation: str, body: Message, answer: type[T], *, timeout: float | None
    ) -> T:
        """Send a request and return what it is answered.

        Raises:
            RequestError: the scheduler refused; the class says why.
            Unavailable: nobody answered in time, or there is no connection.
        """
        is_kept = REQUESTS[operation].writes
        message = Outgoing(
            exchange=self.names.requests,
            routing_key=REQUESTS_KEY,
            body=encode(body),
            type=operation,
            correlation_id=uuid4().hex,
            reply_to=REPLY_TO_DIRECT,
            persistent=is_kept,
            expires_in=None if is_kept else timeout,
        )
        found = await self.exchange(message, timeout=timeout)
        if found.type == "ok":
            return _read(found.body, answer, operation)
        if found.type == "error":
            raise _refusal(found.body, operation)
        raise ProtocolError(f"the answer to {operation!r} has the unknown type {found.type!r}")

    async def report(
        self, kind: str, token: str, body: bytes, *, timeout: float | None, repeat: bool = True
    ) -> Reported:
        """Send a report and return what became of it.

        Raises:
            ProtocolError: the answer is none.
            Unavailable: nobody answered in time, or there is no connection.
        """
        message = self._report_message(kind, token, body)
        message.reply_to = REPLY_TO_DIRECT
        found = await self.exchange(message, timeout=timeout, repeat=repeat)
        answer = _read(found.body, ReportAnswer, kind)
        verdict = _verdict(found.type, kind)
        return Reported(verdict, answer.state, found.was_repeated, answer.lease)

    async def tell(
        self,
        kind: str,
        token: str,
        body: bytes,
        *,
        timeout: float,
        headers: dict[str, Any] | None = None,
    ) -> None:
        """Send a report that asks for no answer; return once the broker has confirmed it.

        Raises:
            Unavailable: it was not confirmed.
        """
        message = self._report_message(kind, token, body)
        message.headers = headers or {}
        await self._publish(message, timeout)

    async def exchange(
        self, message: Outgoing, *, timeout: float | None, repeat: bool = True
    ) -> Answer:
        """Publish a message and return its answer; `repeat` it after a lost connection.

        Raises:
            Unavailable: nobody answered in time, or there is no connection.
        """
        deadline = _deadline(timeout)
        was_repeated = False
        while True:
            try:
                line = await self._open_line(_remaining(deadline))
            except Unavailable as error:
                if not was_repeated:
                    error.details["sent"] = False
                raise
            try:
                found = await line.exchange(message, _or_none(_remaining(deadline)))
                self._was_answered = True
                return Answer(found.type or "", found.body, was_repeated)
            except Unroutable:
                if not (self._was_answered and repeat and _remaining(deadline)):
                    raise self.no_scheduler(sent=was_repeated) from None
                await asyncio.sleep(min(UNROUTABLE_PAUSE, _remaining(deadline)))
                continue
            except TimeoutError:
                raise Unavailable(self._nobody_answered(message, timeout or 0)) from None
            except _Lost as lost:
                if not repeat:
                    raise Unavailable(f"the connection was lost: {lost}") from None
            was_repeated = True
            await asyncio.sleep(min(PAUSE, _remaining(deadline)))

    def no_scheduler(self, *, sent: bool = False) -> Unavailable:
        """Return the error for a broker that does not know this namespace.

        `sent`: the broker took the message before, and it may have counted.
        """
        return Unavailable(
            f"no scheduler has ever run on this broker in namespace {self.names.namespace!r}; "
            "start one: broker-queue scheduler",
            {} if sent else {"sent": False},
        )

    def _report_message(self, kind: str, token: str, body: bytes) -> Outgoing:
        return Outgoing(
            exchange=self.names.reports,
            routing_key=REPORTS_KEY,
            body=body,
            type=kind,
            correlation_id=token or None,
        )

    async def _publish(self, message: Outgoing, timeout: float) -> None:
        line = await self._open_line(timeout)
        try:
            await line.channel.publish(message, timeout)
        except Unroutable:
            raise self.no_scheduler() from None

    async def _open_line(self, timeout: float) -> _Line:
        await self.session(timeout)
        if self._line is None:
            raise Unavailable("not connected")
        return self._line

    async def _set_up(self, session: Session) -> None:
        line = _Line(await session.open_channel())
        await line.channel.consume(REPLY_TO_DIRECT, line.take_answer, prefetch=0, no_ack=True)
        session.lost.add_done_callback(line.end)
        self._line = line

    def _refuse_closed(self) -> None:
        if not self._is_open:
            raise Unavailable(
                "not connected: use 'async with JobQueue(...)' or call connect(), "
                "and do not use it after close()"
            )

    def _nobody_answered(self, message: Outgoing, timeout: float) -> str:
        return (
            f"no answer to {message.type!r} in {timeout:g} s: the broker has it, in queue "
            f"{message.exchange!r}, but no scheduler has answered; is one running?"
        )


def _read(body: bytes, model: type[T], operation: str) -> T:
    try:
        return decode(body, model)
    except Invalid as error:
        raise ProtocolError(
            f"the answer to {operation!r} does not keep the protocol: {error.message}"
        ) from error


def _verdict(kind: str, report: str) -> Verdict:
    try:
        return Verdict(kind)
    except ValueError:
        raise ProtocolError(
            f"the scheduler answered a report of type {report!r} with the unknown verdict {kind!r}"
        ) from None


def _refusal(body: bytes, operation: str) -> RequestError:
    error = _read(body, Error, operation)
    details: Any = {} if isinstance(error.details, UnsetType) else json.loads(bytes(error.details))
    return request_error(error.code, error.message, details if isinstance(details, dict) else {})


def _deadline(timeout: float | None) -> float:
    """Return the moment on the loop's clock at which the time is up."""
    return math.inf if timeout is None else asyncio.get_running_loop().time() + timeout


def _remaining(deadline: float) -> float:
    return max(0.0, deadline - asyncio.get_running_loop().time())


def _or_none(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds
