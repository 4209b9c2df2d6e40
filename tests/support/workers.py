"""Workers that run inside a test's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker_queue.running import Job
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


class Held:
    """A worker with a job function that runs until it is let go."""

    def __init__(self, concurrency: int = 1) -> None:
        self.runs: list[str] = []
        self.stopped = 0
        self.may_end = asyncio.Event()
        self.worker = Worker(concurrency=concurrency)
        self.worker.register("long", self.long)

    async def long(self, job: Job) -> str:
        self.runs.append(job.id)
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return "done"
