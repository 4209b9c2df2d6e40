"""Where the graph runs, and whether the workers for it are there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from broker_queue import JobQueue
from broker_queue.cli import COMMAND
from examples.show import place
from examples.show.place import PAUSE, Place
from examples.show.screen import Screen
from examples.standard_library.jobs import worker

WORKERS = 2
TARGET = "examples.standard_library.jobs:worker"


def attach(shown: Screen) -> Place:
    """Return the running system that the environment names, once it has a worker for us."""
    there = Place()
    with shown.step("workers", "looking for a scheduler and workers") as step:
        step.outcome = asyncio.run(_ready(there, 1, step.tell))
    return there


def start(shown: Screen, started: ExitStack) -> Place:
    """Find or start a broker, start a scheduler and workers; `started` stops what was started."""
    there, processes = place.start(shown, started, worker.types)
    with shown.step("processes", f"starting a scheduler and {WORKERS} workers") as step:
        for name in (f"worker-{number}" for number in range(1, WORKERS + 1)):
            processes.start(name, *COMMAND, "worker", TARGET, "--name", name)
        step.outcome = asyncio.run(there.alongside(_ready(there, WORKERS, lambda _: None)))
    return there


async def _ready(there: Place, wanted: int, tell: Callable[[str], None]) -> str:
    """Return in words who is there, as soon as it is enough."""
    return await there.ready(
        lambda queue: _enough_workers(queue, wanted, tell),
        tell,
        f"no worker takes our jobs; start one: broker-queue worker {TARGET}",
    )


async def _enough_workers(queue: JobQueue, wanted: int, tell: Callable[[str], None]) -> str:
    told = False
    while True:
        ours = [each for each in await queue.workers() if set(worker.types) <= set(each.types)]
        if len(ours) >= wanted:
            slots = sum(each.concurrency for each in ours)
            return f"a scheduler, and workers for {slots} jobs at a time: {len(ours)} processes"
        if not told:
            tell("the scheduler answers; waiting for workers")
            told = True
        await asyncio.sleep(PAUSE)
