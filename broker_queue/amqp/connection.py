"""One AMQP connection that is kept up.

`Connection` connects, runs its owner's set-up (declare, consume), and starts over with growing,
jittered pauses whenever anything of it is lost: the socket, one channel, one consumer. A half-alive
connection is worse than none, so any loss tears down all of it; the broker then hands out again
what was not acknowledged. Nothing is replayed: whoever published without a confirm decides.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aio_pika
from yarl import URL

from broker_queue.amqp import decoding
from broker_queue.amqp.channel import Channel
from broker_queue.amqp.ending import end, ended, unless
from broker_queue.amqp.failures import (
    CALL_TIMEOUT,
    as_unavailable,
    describe,
    is_broker_failure,
    raise_if_not_own,
)
from broker_queue.amqp.url import canonical_url
from broker_queue.errors import BrokerQueueError, ConfigurationError, Unavailable

if TYPE_CHECKING:
    from aiormq.channel import Channel as UnderlyingChannel

decoding.install()

T = TypeVar("T")

log = logging.getLogger(__name__)
for library in ("aio_pika", "aiormq"):  # without any handler it would go to standard error
    logging.getLogger(library).addHandler(logging.NullHandler())

MAX_PAUSE = 10.0
"""Seconds between attempts to connect, at most."""

CLOSE_TIMEOUT = 5.0
"""Seconds for the broker to answer that it has closed the connection."""

HEARTBEAT = 15
"""Seconds; RabbitMQ advises 5 to 20 (https://www.rabbitmq.com/docs/heartbeats)."""


SHORT = 5.0
"""Seconds of a session that did not outlive its predecessor's problem: the log has said that once."""

LOOK = 1.0
"""Seconds between looks whether the broker takes messages."""


class Session:
    """One life of a connection, from connect to loss."""

    def __init__(self, connection: aio_pika.abc.AbstractConnection) -> None:
        self._connection = connection
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.close_callbacks.add(self._on_closed)

    async def open_channel(self, *, confirms: bool = True, essential: bool = True) -> Channel:
        """Open one more channel; it lives as long as the session or until it is closed.

        A channel that is not `essential` may be closed by the broker (a probe of a queue that is
        not there) without ending the session; every way of losing an essential one ends it.

        Raises:
            Unavailable: the broker opened none.
        """
        transport = self._connection.transport
        if transport is None:
            raise Unavailable("the broker opened no channel: the connection is closed")
        async with as_unavailable("the broker opened no channel"), asyncio.timeout(CALL_TIMEOUT):
            await transport.connection.ready()
            opened = await transport.connection.channel(
                publisher_confirms=confirms, on_return_raises=False
            )
        return Channel(self, cast("UnderlyingChannel", opened), essential=essential)

    @property
    def server(self) -> str:
        """Name and version of the broker, from its greeting."""
        transport = self._connection.transport
        properties = getattr(getattr(transport, "connection", None), "server_properties", {}) or {}
        return " ".join(_text(properties.get(key, "")) for key in ("product", "version")).strip()

    @property
    def is_blocked(self) -> bool:
        """Whether the broker takes no messages at present: it is short of memory or disk."""
        transport = self._connection.transport
        if transport is None:
            return False
        waiting = transport.connection.ready()  # the library tells in no other way
        try:
            waiting.send(None)
        except StopIteration:
            return False
        waiting.close()
        return True

    async def unblocked(self) -> None:
        """Return once the broker takes messages again, or this session is lost."""
        transport = self._connection.transport
        if transport is None or not self.is_blocked:
            return
        waiting = asyncio.ensure_future(transport.connection.ready())
        try:
            either: set[asyncio.Future[Any]] = {waiting, self.lost}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something, or give it up with this session: half closed, it may answer nothing more.

        Raises:
            Unavailable: the session is lost.
        """
        return await unless(
            self.lost, work, lambda reason: Unavailable(f"the connection was lost: {reason}")
        )

    def fail(self, reason: str) -> None:
        """End this session; the connection starts over."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self) -> None:
        self._connection.close_callbacks.discard(self._on_closed)
        self.fail("closed")
        await ended(asyncio.create_task(self._close()))  # half closed, it would leave its socket

    async def _close(self) -> None:
        try:
            async with as_unavailable("not closed"), asyncio.timeout(CLOSE_TIMEOUT):
                await self._connection.close()
        except Unavailable:
            pass
        except Exception:  # it is given up, whatever it says; who keeps it up makes another
            log.exception("closing a connection failed")

    def _on_closed(self, _connection: Any, reason: BaseException | None) -> None:
        self.fail(describe(reason))


class Connection:
    """Keeps one connection to the broker up, until it is closed.

    Args:
        url: ``amqp://user:password@host:port/vhost``; ``amqps://`` for TLS.
        name: shown on the broker's management page.
        setup: run on every new session before it counts as ready.
    """

    def __init__(self, url: str, *, name: str, setup: Callable[[Session], Awaitable[None]]) -> None:
        self._url = parse_url(url)
        self._name = name
        self._setup = setup
        self._session: Session | None = None
        self._changed = asyncio.Condition()
        self._problem = "not connected yet"
        self._attempts = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The URL without its password, for messages."""
        return str(self._url.with_password(None).with_query(None))

    async def start(self, *, fail_fast: bool = False, timeout: float = CALL_TIMEOUT) -> None:
        """Begin to connect; with `fail_fast`, the first failure is raised in place of a retry.

        Raises:
            Unavailable: not connected, and `fail_fast`.
        """
        self._task = asyncio.create_task(self._run(), name=f"connection {self._name}")
        if not fail_fast:
            return
        try:
            async with self._changed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._changed.wait_for(lambda: self._session or self._attempts)
        except asyncio.CancelledError:
            await self.close()  # nobody else would
            raise
        if self._session is None:
            await self.close()
            raise Unavailable(self._unavailable_text())

    async def session(self, timeout: float = CALL_TIMEOUT) -> Session:
        """Return the session that is up, waiting at most `timeout` seconds for one.

        Raises:
            Unavailable: none came up.
        """
        if self._session is not None:
            return self._session
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: self._session)
        if self._session is None:
            raise Unavailable(self._unavailable_text())
        return self._session

    @property
    def is_up(self) -> bool:
        return self._session is not None

    async def close(self) -> None:
        """Close for good; whatever was not acknowledged goes back to its queue."""
        if self._task is not None:
            task, self._task = self._task, None
            await end(task)

    async def _run(self) -> None:
        pause = 0.2
        told: str | None = None
        is_flapping = False
        while True:
            session: Session | None = None
            try:
                session = await self._open()
                pause, begun = 0.2, time.monotonic()
                log.log(
                    logging.DEBUG if is_flapping else logging.INFO,
                    "connected to %s at %s (%s)",
                    session.server, self.address, self._name,
                )  # fmt: skip
                await self._set(session)
                self._problem = await self._watch(session)
                is_flapping = self._problem == told and time.monotonic() < begun + SHORT
                if not is_flapping:
                    told = None
            except asyncio.CancelledError as error:
                raise_if_not_own(error)
                self._problem = "lost while it was being made"
            except Exception as error:  # whatever it is, a connection that is not there is no use
                if not (is_broker_failure(error) or isinstance(error, BrokerQueueError)):
                    log.exception("setting up a connection failed (%s)", self._name)
                self._problem = describe(error)
            finally:
                await self._set(None)
                if session is not None:
                    await session.close()
            log.log(
                logging.DEBUG if self._problem == told else logging.WARNING,
                "no connection to %s (%s): %s; trying again until there is one",
                self.address, self._name, self._problem,
            )  # fmt: skip
            told = self._problem
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads reconnects
            pause = min(pause * 2, MAX_PAUSE)

    async def _watch(self, session: Session) -> str:
        """Return why the session was lost; tell of the times in which the broker takes no messages."""
        is_blocked = False
        while True:
            await asyncio.wait([session.lost], timeout=LOOK)
            if session.lost.done():
                return session.lost.result()
            if session.is_blocked is is_blocked:
                continue
            is_blocked = not is_blocked
            if is_blocked:
                log.warning(
                    "the broker is short of memory or disk and takes no messages at present (%s)",
                    self._name,
                )
            else:
                log.info("the broker takes messages again (%s)", self._name)

    async def _open(self) -> Session:
        defaults: dict[str, str] = {"name": self._name, "heartbeat": str(HEARTBEAT)}
        connection = aio_pika.Connection(self._url.with_query(defaults | dict(self._url.query)))
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                await connection.connect()
        except BaseException:
            await connection.close()  # or its destructor tries to, in whatever thread it runs
            raise
        session = Session(connection)
        try:
            await self._setup(session)
        except BaseException:
            await session.close()
            raise
        return session

    async def _set(self, session: Session | None) -> None:
        async with self._changed:
            if session is None:
                self._attempts += 1
            self._session = session
            self._changed.notify_all()

    def _unavailable_text(self) -> str:
        return (
            f"no connection to RabbitMQ at {self.address}: {self._problem}; "
            "check that it runs and that the URL, user and virtual host are right"
        )


def parse_url(url: str) -> URL:
    """Return the broker's URL in its canonical form.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        parsed = URL(canonical_url(url))
        usable = parsed.scheme in ("amqp", "amqps") and bool(parsed.host)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{url!r} is no broker URL; it looks like amqp://user:password@host:5672/vhost"
        )
    return parsed


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
