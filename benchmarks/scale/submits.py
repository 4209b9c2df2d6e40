"""How long does the submit of one very large graph take?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from benchmarks.processes import running_seconds
from benchmarks.scale.fillers import Shape, make_graph
from benchmarks.scale.scene import Row, Scene
from broker_queue import JobQueue

JOBS = 100_000
SHAPES = (Shape.FLAT, Shape.LAYERS)
REPEATS = 3


def submits(scene: Scene) -> Iterator[Row]:
    """Yield, for each shape, the seconds from the call until it returned."""
    jobs = scene.scaled(JOBS)
    with scene.ours() as ours:
        for shape in SHAPES:
            scene.say(f"{REPEATS} submits of {jobs:,} jobs, {shape}")
            before = running_seconds(ours.scheduler_pids)
            submit = partial(_submit, shape=shape, jobs=jobs)
            found = [ours.do(submit) for _ in range(REPEATS)]
            used = running_seconds(ours.scheduler_pids) - before
            yield {
                "shape": shape,
                "jobs": jobs,
                "edges": found[0][1],
                "seconds": [round(seconds, 3) for seconds, _ in found],
                "scheduler": round(used / jobs / REPEATS * 1e6, 1),
            }


async def _submit(queue: JobQueue, shape: Shape, jobs: int) -> tuple[float, int]:
    graph = make_graph(shape, jobs)
    begun = time.perf_counter()
    await queue.submit(graph)
    seconds = time.perf_counter() - begun
    await queue.cancel_graph(graph)  # the next finds as little to hand out as this one did
    return seconds, sum(len(job.dependencies) for job in graph.jobs)
