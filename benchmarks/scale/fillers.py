"""Many jobs in the shapes that are measured, through the client's own submits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum

from benchmarks.workloads import random_parents
from broker_queue import Graph, JobHandle, JobQueue, State
from broker_queue.job import JobLike

NOBODY = "nobody"
"""A type without workers."""

CHUNK = 50_000
"""Jobs of one submit, at most."""

SMALL_CHUNK = 5_000

CHAIN = 100
"""Jobs of one chain."""

RANDOM = 1_000
"""Jobs of one random DAG."""

LAYER_PARENTS = 2
"""Of each job in layers."""

LAYERS = 10
LOOK_AGAIN = 0.25
"""Seconds; to count 100,000 jobs is work, too."""


class Shape(StrEnum):
    """How jobs hang together."""

    FLAT = "flat"
    CHAINS = "chains"
    RANDOM = "random"
    LAYERS = "layers"


def make_graph(
    shape: Shape, jobs: int, job_type: str = NOBODY, gate: JobLike | None = None
) -> Graph:
    """Return jobs that depend on each other in this shape.

    Args:
        shape: the shape.
        jobs: how many.
        job_type: of all of them.
        gate: what those wait for that wait for no other.
    """
    graph = Graph(f"{jobs} {shape}")
    handles: list[JobHandle] = []
    gates: list[JobLike] = [] if gate is None else [gate]
    for salt, parents in enumerate(parents_of(shape, jobs)):
        after: list[JobLike] = [handles[parent] for parent in parents]
        handles.append(graph.add(job_type, {"salt": salt, "parents": []}, after or gates))
    return graph


def parents_of(shape: Shape, jobs: int) -> Sequence[Sequence[int]]:
    """Return for each job the positions of those that it waits for, all of them earlier."""
    match shape:
        case Shape.FLAT:
            return [()] * jobs
        case Shape.CHAINS:
            return [(number - 1,) if number % CHAIN else () for number in range(jobs)]
        case Shape.RANDOM:
            return _many_random(jobs)
        case Shape.LAYERS:
            width = -(-jobs // LAYERS)
            return [_in_layer_before(number, width) for number in range(jobs)]


async def fill(
    queue: JobQueue, shape: Shape, jobs: int, tell: Callable[[int], None] = lambda _: None
) -> None:
    """Add jobs of which a quarter has finished and the rest waits for ever.

    Those that have finished were run by the worker: all their rows are as they always are.
    """
    gate = await queue.enqueue(NOBODY)
    for start, size in blocks(jobs):
        finished = make_graph(shape, size // 4, "checksum")
        await queue.submit(finished)
        await queue.submit(make_graph(shape, size - size // 4, gate=gate))
        await until_counted(queue, finished, State.FINISHED, len(finished))
        tell(start + size)


async def fill_waiting(
    queue: JobQueue, jobs: int, tell: Callable[[int], None] = lambda _: None
) -> None:
    """Add jobs of which one in ten waits for a worker and the others for a job.

    By smaller submits: the memory that a large one takes would hide that of many waiting jobs.
    """
    gate = await queue.enqueue(NOBODY)
    for start, size in blocks(jobs, SMALL_CHUNK):
        await queue.submit(make_graph(Shape.FLAT, size // 10))
        await queue.submit(make_graph(Shape.FLAT, size - size // 10, gate=gate))
        if (start + size) % CHUNK == 0:
            tell(start + size)


def blocks(jobs: int, size: int = CHUNK) -> list[tuple[int, int]]:
    """Return starts and sizes of the blocks in which so many jobs are added."""
    return [(start, min(size, jobs - start)) for start in range(0, jobs, size)]


async def until_counted(queue: JobQueue, graph: Graph, state: State, jobs: int) -> None:
    """Return when so many jobs of a graph are in a state; nobody tells when jobs are queued."""
    while True:
        counts = (await queue.graph(graph)).counts
        if sum(each.jobs for each in counts if each.state == state) >= jobs:
            return
        await asyncio.sleep(LOOK_AGAIN)


def _many_random(jobs: int) -> Sequence[Sequence[int]]:
    """Side by side, as large as the ones that are measured: one of all would run a few at a time."""
    one = random_parents(RANDOM)
    return [
        [number - number % RANDOM + parent for parent in one[number % RANDOM]]
        for number in range(jobs)
    ]


def _in_layer_before(number: int, width: int) -> Sequence[int]:
    layer, place = divmod(number, width)
    if layer == 0:
        return ()
    first = (layer - 1) * width
    return sorted({first + (place + step) % width for step in range(LAYER_PARENTS)})
