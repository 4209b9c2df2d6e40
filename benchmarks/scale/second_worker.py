"""A worker that only unrelated jobs have: what holds them up is not the many jobs' worker."""

from __future__ import annotations

import time

from broker_queue import Worker

UNRELATED = "unrelated"
"""Its type of jobs."""

worker = Worker(concurrency=10)


@worker.job(UNRELATED)
async def stamp() -> list[float]:
    """Return when it started and ended, by the clock that all processes share."""
    now = time.monotonic()
    return [now, time.monotonic()]
