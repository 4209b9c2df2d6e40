"""How a task is ended by who started it."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and return once it has ended; an error of its own is raised here.

    Whoever waits here may be canceled meanwhile. That is raised as soon as the task has ended;
    suppressing CancelledError around ``await task`` would lose it, the two look the same there.
    """
    canceled: asyncio.CancelledError | None = None
    task.cancel()
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            canceled = error
    if canceled is not None:
        raise canceled
    if not task.cancelled():
        task.result()
