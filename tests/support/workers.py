"""Workers that run inside a test's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker_queue.worker import Worker


@asynccontextmanager
async def running(worker: Worker, url: str, namespace: str) -> AsyncIterator[Worker]:
    """Run a worker for the length of the block, then stop it in order."""
    worker.url, worker.namespace = url, namespace
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task
