"""How who started a task sees it to its end.

Whoever waits may be canceled meanwhile. Suppressing CancelledError around ``await task`` would lose
that, the two look the same there; here it is raised as soon as the task has ended.
"""

from __future__ import annotations

import asyncio
from typing import Any


async def ended(task: asyncio.Task[Any]) -> None:
    """Return once `task` has ended, undisturbed by who waits; an error of its own is raised."""
    canceled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            canceled = error
    if canceled is not None:
        if not task.cancelled():
            task.exception()  # seen; whoever was canceled wants to hear of nothing
        raise canceled
    if not task.cancelled():
        task.result()


def raise_if_canceled() -> None:
    """Raise what the task that runs this has been canceled with, if that was lost on the way.

    `asyncio.wait_for`, which the client library uses, loses a cancellation that comes together with
    the answer; Python 3.12 mended that (https://github.com/python/cpython/issues/86296).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and return once it has ended; an error of its own is raised."""
    task.cancel()
    await ended(task)
