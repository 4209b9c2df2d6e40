"""The way from the worker to the broker: everything that passes is read, and it can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeAlias

from broker_queue.amqp.relay import Gate, Relay
from broker_queue.amqp.wiretap import Event, Lost, Wiretap

Listener: TypeAlias = Callable[[int, Event], bool]
"""Hears what passes, with the number of its connection; False: cut before it is passed on."""


class Proxy(Relay):
    """Forwards to the broker, and tells what it forwards.

    Args:
        url: of the broker; what comes here is not encrypted, even if that is.
        listener: hears every event before it is passed on.
        port: to listen at; 0 is any that is free.
    """

    def __init__(self, url: str, listener: Listener, port: int = 0) -> None:
        super().__init__(url, port)
        self._listener = listener
        self._open = asyncio.Event()
        """Whether what the broker says is passed on."""
        self._open.set()

    def hold_back(self, seconds: float) -> None:
        """Keep what the broker says from the worker for a moment."""
        self._open.clear()
        asyncio.get_running_loop().call_later(seconds, self._open.set)

    def gates(self, number: int) -> tuple[Gate, Gate]:
        tap = Wiretap()

        async def sent(data: bytes) -> bool:
            return self._tell(number, tap.sent(data))

        async def received(data: bytes) -> bool:
            await self._open.wait()
            return self._tell(number, tap.received(data))

        return sent, received

    def on_over(self, number: int) -> None:
        self._listener(number, Lost())

    def _tell(self, number: int, events: Iterable[Event]) -> bool:
        return all(self._listener(number, event) for event in events)
