"""How long does something very large hold up jobs that have nothing to do with it?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.scale.figures import find_stalls
from benchmarks.scale.fillers import NOBODY, Shape, make_graph, until_counted
from benchmarks.scale.scene import Row, Scene
from benchmarks.scale.second_worker import UNRELATED
from benchmarks.scale.stream import Stream
from broker_queue import DequeuedJob, Graph, JobQueue, State

JOBS = 100_000

RATE = 50.0
"""Unrelated jobs a second: a stall is seen to a fiftieth of a second."""

BEFORE, AFTERWARDS = 2.0, 0.5
"""Seconds of the stream alone."""

REPEATS = 2

HELD = "held"
"""A type whose jobs this client dequeues."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be measured, all of it ready.

    Args:
        graph: the large one.
        act: what takes long.
    """

    graph: Graph
    act: Callable[[], Awaitable[object]]


Prepare = Callable[[JobQueue, int], Awaitable[Prepared]]


def stalls(scene: Scene) -> Iterator[Row]:
    """Yield how long each large thing takes, and how long unrelated jobs are held up meanwhile."""
    jobs = scene.scaled(JOBS)
    with scene.ours() as ours:
        for what, prepare in KINDS.items():
            scene.say(f"{what} of {jobs:,} jobs")
            watch = partial(_watch, scene=scene, prepare=prepare, jobs=jobs)
            found = [ours.do(watch) for _ in range(REPEATS)]
            together = {name: [row[name] for row in found] for name in found[0]}
            yield {"what": what, "jobs": jobs, **together}


async def _watch(queue: JobQueue, scene: Scene, prepare: Prepare, jobs: int) -> Row:
    prepared = await prepare(queue, jobs)
    async with Stream(scene.place, UNRELATED, RATE) as stream:
        await asyncio.sleep(BEFORE)
        begun = time.monotonic()
        await prepared.act()
        ended = time.monotonic()
        await asyncio.sleep(AFTERWARDS)
        found = find_stalls(await stream.stop(), begun, ended)
    await queue.cancel_graph(prepared.graph)
    return {
        "seconds": round(ended - begun, 3),
        "unrelated": found.jobs,
        "usual": round(found.usual * 1000, 1),
        "longest": round(found.longest * 1000, 1),
        "longest_answer": round(found.longest_answer * 1000, 1),
    }


async def _submit_flat(queue: JobQueue, jobs: int) -> Prepared:
    """One request brings all of them."""
    graph = make_graph(Shape.FLAT, jobs, gate=await queue.enqueue(NOBODY))
    return Prepared(graph, partial(queue.submit, graph))


async def _fan_out(queue: JobQueue, jobs: int) -> Prepared:
    """One job ends that all the others wait for: they are in line then."""
    graph, held = await _after_one(queue, NOBODY, jobs)

    async def act() -> None:
        await queue.finish_job(held)
        await until_counted(queue, graph, State.QUEUED, jobs)

    return Prepared(graph, act)


async def _skipped(queue: JobQueue, jobs: int) -> Prepared:
    """One job fails that all the others wait for: they are skipped."""
    graph, held = await _after_one(queue, NOBODY, jobs)

    async def act() -> None:
        await queue.fail_job(held, "on purpose", retry=False)
        await until_counted(queue, graph, State.SKIPPED, jobs)

    return Prepared(graph, act)


async def _fan_in(queue: JobQueue, jobs: int) -> Prepared:
    """All of them run, at the full speed of their worker, and one waits for all."""
    graph = Graph(f"fan-in of {jobs}")
    root = graph.add(HELD)
    parts = [graph.add("checksum", {"salt": salt, "parents": []}, [root]) for salt in range(jobs)]
    last = graph.add("checksum", {"salt": 0, "parents": []}, parts)
    await queue.submit(graph)
    held = await queue.dequeue(HELD)

    async def act() -> None:
        await queue.finish_job(held)
        await queue.result(last)

    return Prepared(graph, act)


async def _canceled(queue: JobQueue, jobs: int) -> Prepared:
    graph = make_graph(Shape.FLAT, jobs, gate=await queue.enqueue(NOBODY))
    await queue.submit(graph)
    return Prepared(graph, partial(queue.cancel_graph, graph))


async def _after_one(queue: JobQueue, job_type: str, jobs: int) -> tuple[Graph, DequeuedJob]:
    """Submit a job and all that wait for it; return the graph, and the job as it runs here."""
    graph = Graph(f"fan-out of {jobs}")
    root = graph.add(HELD)
    for salt in range(jobs):
        graph.add(job_type, {"salt": salt}, [root])
    await queue.submit(graph)
    return graph, await queue.dequeue(HELD)


KINDS: dict[str, Prepare] = {
    "fan-out": _fan_out,
    "fan-out, all skipped": _skipped,
    "fan-out and fan-in": _fan_in,
    "submit": _submit_flat,
    "cancel": _canceled,
}
"""In the order of the table; of the first and the third, `goals` has something to say."""
