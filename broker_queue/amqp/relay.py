"""A way to the broker through this process, on which all that passes can be looked at and cut."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeAlias

from yarl import URL

from broker_queue.amqp.url import canonical_url
from broker_queue.errors import ConfigurationError

Gate: TypeAlias = Callable[[bytes], Awaitable[bool]]
"""Gets what comes next in one direction; it is passed on after True, all is cut after False."""

CHUNK = 1 << 16


class Relay(ABC):
    """Forwards to the broker what comes to a port of this machine.

    Args:
        url: of the broker; what comes here is not encrypted, even if that is.
        port: to listen at; 0 is any that is free.
    """

    def __init__(self, url: str, port: int = 0) -> None:
        self._target = URL(url)
        self._port = port
        self._connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @abstractmethod
    def gates(self, number: int) -> tuple[Gate, Gate]:
        """Return what a new connection's bytes go through: those for the broker, those from it."""

    def on_over(self, number: int) -> None:  # noqa: B027  # not everybody minds
        """Learn that a connection is over, in whatever way."""

    @property
    def url(self) -> str:
        """The broker's URL through this relay, with its user, password and virtual host."""
        here = self._target.with_scheme("amqp").with_host("127.0.0.1").with_port(self._port)
        return canonical_url(str(here))

    def cut(self) -> None:
        """Break every connection as a failing network does; new ones are forwarded again."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        except OSError as error:
            raise ConfigurationError(f"cannot listen at port {self._port}: {error}") from None
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, secure = self._target.host or "localhost", self._target.scheme == "amqps"
        port = self._target.explicit_port or (5671 if secure else 5672)
        context = ssl.create_default_context() if secure else None
        try:
            there, onward = await asyncio.open_connection(host, port, ssl=context)
        except OSError:
            writer.transport.abort()
            return
        self._connections += 1
        number = self._connections
        self._writers |= {onward, writer}
        sent, received = self.gates(number)
        task = asyncio.create_task(
            self._forward_both(
                self._forward(reader, onward, sent), self._forward(there, writer, received)
            )
        )
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._on_done(number, task))

    def _on_done(self, number: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.on_over(number)

    async def _forward_both(self, *ways: Coroutine[Any, Any, None]) -> None:
        await asyncio.gather(*ways)

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: Gate
    ) -> None:
        try:
            while data := await source.read(CHUNK):
                if not await gate(data):
                    self.cut()
                    return
                sink.write(data)
                await sink.drain()
        except OSError:
            pass  # by one end, or by a cut
        finally:
            sink.close()
            self._writers.discard(sink)
