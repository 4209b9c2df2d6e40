"""The way from the worker to the broker: everything that passes is read, and it can be cut."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeAlias

from yarl import URL

from broker_queue.amqp.url import canonical_url
from broker_queue.amqp.wiretap import Event, Lost, Wiretap
from broker_queue.errors import ConfigurationError

Listener: TypeAlias = Callable[[int, Event], bool]
"""Hears what passes, with the number of its connection; False: cut before it is passed on."""

CHUNK = 1 << 16


class Proxy:
    """Forwards to the broker what comes to a port of this machine.

    Args:
        url: of the broker; what comes here is not encrypted, even if that is.
        listener: hears every event before it is passed on.
        port: to listen at; 0 is any that is free.
    """

    def __init__(self, url: str, listener: Listener, port: int = 0) -> None:
        self._target = URL(url)
        self._listener = listener
        self._port = port
        self._connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        """Whether what the broker says is passed on."""
        self._open.set()

    @property
    def url(self) -> str:
        """The broker's URL through this proxy, with its user, password and virtual host."""
        here = self._target.with_scheme("amqp").with_host("127.0.0.1").with_port(self._port)
        return canonical_url(str(here))

    def cut(self) -> None:
        """Break every connection as a failing network does; new ones are forwarded again."""
        for writer in list(self._writers):
            writer.transport.abort()

    def hold_back(self, seconds: float) -> None:
        """Keep what the broker says from the worker for a moment."""
        self._open.clear()
        asyncio.get_running_loop().call_later(seconds, self._open.set)

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
        tap, number = Wiretap(), self._connections
        self._writers |= {onward, writer}
        task = asyncio.create_task(
            self._forward_both(
                self._forward(number, reader, onward, tap.sent, None),
                self._forward(number, there, writer, tap.received, self._open),
            )
        )
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._on_over(number, task))

    def _on_over(self, number: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._listener(number, Lost())

    async def _forward_both(self, *ways: Coroutine[Any, Any, None]) -> None:
        await asyncio.gather(*ways)

    async def _forward(
        self,
        number: int,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        read: Callable[[bytes], list[Event]],
        gate: asyncio.Event | None,
    ) -> None:
        try:
            while data := await source.read(CHUNK):
                if gate is not None:
                    await gate.wait()
                if not all(self._listener(number, event) for event in read(data)):
                    self.cut()
                    return
                sink.write(data)
                await sink.drain()
        except OSError:
            pass  # by one end, or by a cut
        finally:
            sink.close()
            self._writers.discard(sink)
