"""A million waiting jobs: how much memory does the scheduler take, and how long its restart?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.contenders.ours import Ours
from benchmarks.processes import memory
from benchmarks.scale.fillers import fill_waiting
from benchmarks.scale.scene import Row, Scene
from benchmarks.scale.second_worker import UNRELATED
from broker_queue import JobQueue

JOBS = 1_000_000
REPEATS = 3


def waiting(scene: Scene) -> Iterator[Row]:
    """Yield memory and time of the scheduler that took them all, then of others after it."""
    jobs = scene.scaled(JOBS)
    with scene.ours() as ours:
        begun = time.perf_counter()
        ours.do(
            lambda queue: fill_waiting(
                queue, jobs, lambda there: scene.say(f"{there:,} of {jobs:,} jobs wait")
            )
        )
        seconds = time.perf_counter() - begun
        yield {"what": "filled", "jobs": jobs, "seconds": round(seconds, 1), **_memory(ours)}
        for what, stop in (("stop", ours.stop_scheduler), ("kill -9", ours.kill_scheduler)):
            scene.say(f"{REPEATS} restarts after: {what}")
            yield {"what": what, "jobs": jobs, **_restarts(ours, stop)}


def _restarts(ours: Ours, stop: Callable[[], None]) -> Row:
    answers, works = [], []
    for _ in range(REPEATS):
        stop()
        begun = time.perf_counter()
        ours.start_scheduler()
        answers.append(round(time.perf_counter() - begun, 3))
        ours.do(_unrelated)
        works.append(round(time.perf_counter() - begun, 3))
    return {"answers": answers, "works": works, **_memory(ours)}


def _memory(ours: Ours) -> Row:
    now, peak = memory(ours.scheduler_pids)
    return {"memory": round(now, 1), "peak": round(peak, 1)}


async def _unrelated(queue: JobQueue) -> None:
    await queue.result(await queue.enqueue(UNRELATED))
