"""Waiting for conditions; one factor scales every patience."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

TIMEOUT_FACTOR = float(os.environ.get("TIMEOUT_FACTOR", "1"))
PATIENCE = 20.0 * TIMEOUT_FACTOR

ANSWER_TIMEOUT = 30.0 * TIMEOUT_FACTOR
"""Seconds within which a scheduler must answer; without the factor, the clients' own default."""

SHORT_TIMEOUT = 2.5 * TIMEOUT_FACTOR
"""Seconds of a client that is to give up soon; it connects within them on a loaded machine too."""


async def until(condition: Callable[[], Awaitable[bool]], patience: float = PATIENCE) -> None:
    """Return once the condition holds; fail after `patience` seconds."""
    async with asyncio.timeout(patience):
        while not await condition():  # noqa: ASYNC110  # conditions of other processes have no event
            await asyncio.sleep(0.01)
