"""Unrelated jobs, one after the other, beside something large: how long is each held up?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from broker_queue import JobQueue

T = TypeVar("T")

FEW = 20
"""Jobs before anything else happens, to know what is usual."""


async def watched(queue: JobQueue, work: Coroutine[Any, Any, T]) -> tuple[T, float, float]:
    """Do something large; return its result, the usual and the longest time of an unrelated job.

    Both times are seconds from the enqueue to the known result.
    """
    usual = sorted([await _one(queue) for _ in range(FEW)])[FEW // 2]
    task = asyncio.ensure_future(work)
    longest = 0.0
    while not task.done():
        longest = max(longest, await _one(queue))
    return await task, usual, longest


async def _one(queue: JobQueue) -> float:
    begun = time.perf_counter()
    await queue.result(await queue.enqueue("stamp"))
    return time.perf_counter() - begun
