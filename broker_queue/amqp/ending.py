"""How who started a task sees it to its end.

Whoever waits may be canceled meanwhile. Suppressing CancelledError around ``await task`` would lose
that, the two look the same there; here it is raised as soon as the task has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
H = TypeVar("H")

AGAIN = 1.0
"""Seconds after which a task is canceled once more."""


async def ended(task: asyncio.Task[Any]) -> None:
    """Return once `task` has ended, undisturbed by who waits; an error of its own is raised."""
    await _see_to_its_end(task, cancels=False)


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and return once it has ended; an error of its own is raised.

    It is canceled again and again. `asyncio.wait_for`, with which the client library waits for the
    broker, loses a cancellation that comes together with the answer, and the task would go on for ever;
    Python 3.12 mended that (https://github.com/python/cpython/issues/86296).
    """
    await _see_to_its_end(task, cancels=True)


async def unless(
    hindrance: asyncio.Future[H], work: Coroutine[Any, Any, T], error: Callable[[H], BaseException]
) -> T:
    """Return what `work` returns.

    Where `hindrance` is done before it, `work` is canceled, and the `error` for it is raised.
    """
    task = asyncio.ensure_future(work)
    try:
        either: set[asyncio.Future[Any]] = {task, hindrance}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise error(hindrance.result())
        return task.result()
    finally:
        if not task.done():
            await end(task)


async def _see_to_its_end(task: asyncio.Task[Any], *, cancels: bool) -> None:
    canceled: asyncio.CancelledError | None = None
    while not task.done():
        if cancels:
            task.cancel()
        try:
            await asyncio.wait([task], timeout=AGAIN if cancels else None)
        except asyncio.CancelledError as error:
            canceled = error
    own = None if task.cancelled() else task.exception()
    if canceled is not None:
        raise canceled
    if own is not None:
        raise own
