"""The worker of a soak: ``python -m tests.soak.worker_process``."""

from __future__ import annotations

import asyncio
import logging

from broker_queue.errors import JobError
from broker_queue.running import Job
from broker_queue.worker import Worker
from tests.faults import lifeline

CONCURRENCY = 16

PLANNED = "planned"
"""Code of the failures that are wanted; the worker warns of each."""


def make_worker() -> Worker:
    """Return a worker whose jobs do what their args say."""
    worker = Worker(concurrency=CONCURRENCY)

    @worker.job("work")
    async def work(seconds: float, succeed_at: int, inputs: list[int], job: Job) -> int:
        await job.progress(0.5, "half of it")
        await asyncio.sleep(seconds)
        if job.attempt < succeed_at:
            raise JobError("as its args say", code=PLANNED)
        return 1 + sum(inputs)

    return worker


if __name__ == "__main__":
    lifeline.hold()
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
    make_worker().run_forever()
