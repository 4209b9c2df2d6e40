"""Many jobs that wait and never run, in the shapes that are measured."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from benchmarks.workloads import random_parents
from broker_queue import Graph, JobHandle, JobQueue
from broker_queue.job import JobLike

NOBODY = "nobody"
"""A type without workers."""

CHUNK = 50_000
"""Jobs of one submit."""

CHAIN = 100
"""Jobs of one chain."""


class Shape(StrEnum):
    """How jobs hang together."""

    FLAT = "flat"
    CHAINS = "chains"
    RANDOM = "random"


def make_graph(shape: Shape, jobs: int, gate: JobLike) -> Graph:
    """Return jobs of which each waits for the gate, or for others that do."""
    graph = Graph(f"{jobs} {shape}")
    handles: list[JobHandle] = []
    for parents in _parents(shape, jobs):
        after: list[JobLike] = [handles[parent] for parent in parents]
        handles.append(graph.add(NOBODY, {"salt": len(handles)}, after or [gate]))
    return graph


async def fill(queue: JobQueue, shape: Shape, jobs: int) -> None:
    """Add jobs that wait for ever."""
    gate = await queue.enqueue(NOBODY)
    for start in range(0, jobs, CHUNK):
        await queue.submit(make_graph(shape, min(CHUNK, jobs - start), gate))


def _parents(shape: Shape, jobs: int) -> Sequence[Sequence[int]]:
    match shape:
        case Shape.FLAT:
            return [()] * jobs
        case Shape.CHAINS:
            return [(number - 1,) if number % CHAIN else () for number in range(jobs)]
        case Shape.RANDOM:
            return random_parents(jobs)
