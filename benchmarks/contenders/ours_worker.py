"""The worker of ours: ``broker-queue worker benchmarks.contenders.ours_worker:worker``."""

from __future__ import annotations

import time

from benchmarks import work
from broker_queue import Worker

CONCURRENCY = 200
"""Jobs that are held at once, so that neither side waits for the other's messages."""

worker = Worker(concurrency=CONCURRENCY)


@worker.job()
async def checksum(salt: int, parents: list[int], marker: str | None = None) -> int:
    return work.checksum(salt, parents, marker)


@worker.job()
async def stamp() -> list[float]:
    """Return when it started and ended, by the clock that all processes share."""
    now = time.monotonic()
    return [now, time.monotonic()]
