"""How long does the submit of one very large graph take?"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.contenders.ours import Ours
from benchmarks.processes import memory, running_seconds
from benchmarks.scale.fillers import Shape, make_graph, parents_of
from benchmarks.scale.scene import Row, Scene

JOBS = 100_000
SHAPES = (Shape.FLAT, Shape.LAYERS)
REPEATS = 3


def submits(scene: Scene) -> Iterator[Row]:
    """Yield, for each shape, the seconds from the call until it returned."""
    jobs = scene.scaled(JOBS)
    with scene.ours() as ours:
        for shape in SHAPES:
            scene.say(f"{REPEATS} submits of {jobs:,} jobs, {shape}")
            edges = sum(map(len, parents_of(shape, jobs)))
            found = [_submit(ours, shape, jobs) for _ in range(REPEATS)]
            yield {
                "shape": shape,
                "jobs": jobs,
                "edges": edges,
                "seconds": [round(seconds, 3) for seconds, _ in found],
                "scheduler": [round(used / jobs * 1e6, 1) for _, used in found],
                "peak": round(memory(ours.scheduler_pids).peak, 1),
            }


def _submit(ours: Ours, shape: Shape, jobs: int) -> tuple[float, float]:
    """Return how long it took, and the scheduler's processor time."""
    graph = make_graph(shape, jobs)
    before = running_seconds(ours.scheduler_pids)
    begun = time.perf_counter()
    ours.do(lambda queue: queue.submit(graph))
    seconds = time.perf_counter() - begun
    used = running_seconds(ours.scheduler_pids) - before
    ours.do(lambda queue: queue.cancel_graph(graph))  # the next finds as little in line
    return seconds, used
