"""A TCP proxy before the broker, to cut or freeze connections without touching the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias

from yarl import URL

Tap: TypeAlias = Callable[[bytes], None]
"""Called with all that passes in one direction of a connection."""


class Proxy:
    """Forwards to the broker until it is told to cut or to freeze.

    Args:
        url: of the broker.
        tap: returns, for each connection, what looks at what is sent and at what is received.
    """

    def __init__(self, url: str, tap: Callable[[], tuple[Tap, Tap]] | None = None) -> None:
        self._target = URL(url)
        self._tap = tap or (lambda: (_ignore, _ignore))
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()

    @property
    def url(self) -> str:
        """The URL of the broker through this proxy."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(self._target.with_host(host).with_port(port))

    def cut(self) -> None:
        """Break every connection as a failing network does; new ones are forwarded again."""
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Accept connections and what they send as far as buffers hold it, and pass nothing on."""
        self._flows.clear()

    def thaw(self) -> None:
        """Pass on what came since `freeze`, also of connections that were given up meanwhile."""
        self._flows.set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.thaw()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target.host or "", self._target.port or 5672
        there, onward = await asyncio.open_connection(host, port)
        sent, received = self._tap()
        for source, sink, tap in ((reader, onward, sent), (there, writer, received)):
            self._writers.add(sink)
            task = asyncio.create_task(self._forward(source, sink, tap))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, tap: Tap
    ) -> None:
        try:
            while data := await source.read(1 << 16):
                await self._flows.wait()
                tap(data)
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()
            self._writers.discard(sink)


def _ignore(_data: bytes) -> None:
    """Look at nothing."""
