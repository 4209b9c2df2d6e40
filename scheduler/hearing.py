"""Whether silence means something: this process must have listened before it blames others."""

from __future__ import annotations

import asyncio

from scheduler import clock

TICK = 0.5
"""Seconds."""

LONG_PAUSE = 2_000
"""Milliseconds that this process was late: it was stopped, or its machine was."""

UNREAD_PAUSE = 1_000
"""Milliseconds for which nobody is blamed while messages wait to be read."""


class Hearing:
    """Since when this scheduler hears what workers say.

    Args:
        patience: milliseconds that workers have to be heard, after it began to listen.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._since = self._awake_at = clock.now()

    def begin(self) -> None:
        """Listen anew: until now, nothing of what workers said came here."""
        self._since = clock.now()

    def means_something_at(self, now: int, *, unread: bool) -> int:
        """Return from when on silence means something (ms since the epoch)."""
        self._notice_pause(now)
        return max(self._since + self._patience, now + UNREAD_PAUSE if unread else 0)

    async def run(self) -> None:
        """Notice, until this is canceled, when this process was not running."""
        while True:
            self._notice_pause(clock.now())
            await asyncio.sleep(TICK)

    def _notice_pause(self, now: int) -> None:
        if now > self._awake_at + round(TICK * 1_000) + LONG_PAUSE:
            self._since = now
        self._awake_at = now
