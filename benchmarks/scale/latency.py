"""How soon after the end of a job does the one start that waits for it?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from benchmarks.contenders.ours import Ours
from benchmarks.measuring import measure
from benchmarks.scale.cost import WrongResults
from benchmarks.scale.figures import spread
from benchmarks.scale.scene import Row, Scene
from benchmarks.scale.second_worker import UNRELATED
from benchmarks.scale.stream import Stream
from benchmarks.workloads import WORKLOADS
from broker_queue import Graph, JobHandle, JobQueue

CHAIN = 1_000
FLAT = 20_000
"""Jobs that tell how many a second are all that is possible."""

REPEATS = 3
SETTLE = 2.0
"""Seconds of the load before the first chain."""

SUBMITS = 50
"""A second, of the load."""


def latency(scene: Scene) -> Iterator[Row]:
    """Yield latencies with nothing else to do, what is possible, and latencies at half of that."""
    with scene.ours() as ours:
        ours.do(lambda queue: _chain(queue, 50))  # the first of everything is slower
        scene.say("chains with nothing beside them")
        found = [ours.do(lambda queue: _chain(queue, scene.scaled(CHAIN))) for _ in range(REPEATS)]
        yield {"what": "idle", **_row(found)}
        rates = [_rate(ours, scene.scaled(FLAT), number) for number in range(REPEATS)]
        yield {"what": "flat", "rates": [round(rate, 1) for rate in rates]}
        half = median(rates) / 2
        scene.say(f"chains beside {half:,.0f} jobs a second")
        yield {"what": "half load", **ours.do(lambda queue: _loaded(scene, queue, half))}


def _rate(ours: Ours, jobs: int, number: int) -> float:
    measured = measure(ours, WORKLOADS["flat"].make(jobs), f"flat-{number}")
    if "void" in measured:
        raise WrongResults(measured["void"])
    return measured["jobs"] / measured["seconds"]


async def _loaded(scene: Scene, queue: JobQueue, rate: float) -> Row:
    batch = max(1, round(rate / SUBMITS))
    async with Stream(scene.place, "stamp", rate, batch) as load:
        await asyncio.sleep(SETTLE)
        found = [await _chain(queue, scene.scaled(CHAIN)) for _ in range(REPEATS)]
        samples = await load.stop()
    seconds = max(each.started for each in samples) - samples[0].due
    held_up = sorted(each.started - each.due for each in samples)
    return {
        "asked": round(rate, 1),
        "reached": round(len(samples) / seconds, 1),
        "load_p99": spread(held_up)["p99"],
        **_row(found),
    }


async def _chain(queue: JobQueue, jobs: int) -> list[float]:
    """Return the seconds from the end of each job of a chain to the start of the next."""
    graph = Graph(f"chain of {jobs}")
    last: list[JobHandle] = []
    for _ in range(jobs):
        last = [graph.add(UNRELATED, None, last)]
    await queue.submit(graph)
    stamps = [status.result for status in await queue.wait(graph)]
    return [after[0] - before[1] for before, after in pairwise(stamps)]


def _row(chains: list[list[float]]) -> Row:
    return spread(each for chain in chains for each in chain) | {
        f"each_{name}": [spread(chain)[name] for chain in chains] for name in ("p50", "p99")
    }
