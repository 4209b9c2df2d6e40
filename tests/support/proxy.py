"""A TCP proxy before the broker, to cut or freeze connections without touching the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from broker_queue.amqp.relay import Gate, Relay

Tap: TypeAlias = Callable[[bytes], None]
"""Called with all that passes in one direction of a connection."""


class Proxy(Relay):
    """Forwards to the broker until it is told to cut or to freeze.

    Args:
        url: of the broker.
        tap: returns, for each connection, what looks at what is sent and at what is received.
    """

    def __init__(self, url: str, tap: Callable[[], tuple[Tap, Tap]] | None = None) -> None:
        super().__init__(url)
        self._tap = tap or (lambda: (_ignore, _ignore))
        self._flows = asyncio.Event()
        self._flows.set()

    def freeze(self) -> None:
        """Accept connections and what they send as far as buffers hold it, and pass nothing on."""
        self._flows.clear()

    def thaw(self) -> None:
        """Pass on what came since `freeze`, also of connections that were given up meanwhile."""
        self._flows.set()

    def gates(self, _number: int) -> tuple[Gate, Gate]:
        sent, received = self._tap()
        return self._gate(sent), self._gate(received)

    def _gate(self, tap: Tap) -> Gate:
        async def passes(data: bytes) -> bool:
            await self._flows.wait()
            tap(data)
            return True

        return passes


def _ignore(_data: bytes) -> None:
    """Look at nothing."""
