"""One function for each question; each returns a row of figures for each answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from benchmarks.contenders.ours import Ours
from benchmarks.measuring import measure
from benchmarks.processes import processor_seconds, resident_mebibytes
from benchmarks.scale.fillers import CHAIN, NOBODY, Shape, fill, make_graph
from benchmarks.scale.probes import watched
from benchmarks.workloads import WORKLOADS, Plan, chains
from broker_queue import Graph, JobQueue, State

Row = dict[str, Any]

PROBE = 1_000
"""Jobs that are done with so many others in the database."""

REPEATS = 3
LOOK_AGAIN = 0.1
HELD = "held"
"""A type whose jobs this client dequeues."""


def cost(ours: Ours, shape: Shape, sizes: Sequence[int]) -> Iterator[Row]:
    """What does a job cost with many others in the database?"""
    there = 0
    for size in sizes:
        ours.do(lambda queue, more=size - there: fill(queue, shape, more))  # type: ignore[misc]
        there = size
        rates, scheduler = [], []
        for number in range(REPEATS):
            before = processor_seconds(ours.scheduler_pids)
            measured = measure(ours, _probe(shape), f"{size}-{number}")
            used = processor_seconds(ours.scheduler_pids) - before
            if "void" in measured:
                yield {"shape": shape, "size": size, "void": measured["void"]}
                return
            rates.append(measured["jobs"] / measured["seconds"])
            scheduler.append(used / measured["jobs"] * 1e6)
        yield {
            "shape": shape,
            "size": size,
            "rate": median(rates),
            "scheduler": median(scheduler),
        }


def submit(ours: Ours, shape: Shape, jobs: int) -> Row:
    """How long does one large submit take, and how long does it hold up others?"""

    async def run(queue: JobQueue) -> Row:
        graph = make_graph(shape, jobs, await queue.enqueue(NOBODY))
        seconds, usual, longest = await watched(queue, _timed(queue, graph))
        edges = sum(len(job.dependencies) for job in graph.jobs)
        return {
            "what": f"submit, {shape}",
            "jobs": jobs,
            "edges": edges,
            "seconds": seconds,
            "usual": usual,
            "longest": longest,
        }

    return ours.do(run)


def fan_out(ours: Ours, jobs: int) -> Row:
    """How long does one job that many wait for hold up others?"""
    return ours.do(lambda queue: _fan_out(queue, jobs, ends_as=State.QUEUED))


def skip(ours: Ours, jobs: int) -> Row:
    """And when all of them are skipped?"""
    return ours.do(lambda queue: _fan_out(queue, jobs, ends_as=State.SKIPPED))


def fan_in(ours: Ours, jobs: int) -> Row:
    """How long do many jobs, and the one that waits for all, hold up others?"""

    async def run(queue: JobQueue) -> Row:
        graph = Graph(f"fan-in of {jobs}")
        root = graph.add(HELD)
        parts = [
            graph.add("checksum", {"salt": salt, "parents": []}, [root]) for salt in range(jobs)
        ]
        last = graph.add("checksum", {"salt": 0, "parents": []}, parts)
        await queue.submit(graph)
        held = await queue.dequeue(HELD)

        async def work() -> float:
            begun = time.perf_counter()
            await queue.finish_job(held)
            await queue.result(last)
            return time.perf_counter() - begun

        return _row("fan-in", jobs, *await watched(queue, work()))

    return ours.do(run)


def cancel(ours: Ours, jobs: int) -> Row:
    """How long does the cancel of a large graph hold up others?"""

    async def run(queue: JobQueue) -> Row:
        graph = make_graph(Shape.FLAT, jobs, await queue.enqueue(NOBODY))
        await queue.submit(graph)

        async def work() -> float:
            begun = time.perf_counter()
            await queue.cancel_graph(graph)
            return time.perf_counter() - begun

        return _row("cancel", jobs, *await watched(queue, work()))

    return ours.do(run)


def restart(ours: Ours, jobs: int) -> Row:
    """How much memory does the scheduler take with many waiting jobs, and how long its restart?"""
    ours.do(lambda queue: fill(queue, Shape.FLAT, jobs))
    filled = resident_mebibytes(ours.scheduler_pids)
    ours.stop_scheduler()
    begun = time.perf_counter()
    ours.start_scheduler()
    seconds = time.perf_counter() - begun
    return {
        "jobs": jobs,
        "filled": filled,
        "restarted": resident_mebibytes(ours.scheduler_pids),
        "seconds": seconds,
    }


async def _fan_out(queue: JobQueue, jobs: int, *, ends_as: State) -> Row:
    graph = Graph(f"fan-out of {jobs}")
    root = graph.add(HELD)
    for salt in range(jobs):
        graph.add(NOBODY, {"salt": salt}, [root])
    await queue.submit(graph)
    held = await queue.dequeue(HELD)

    async def work() -> float:
        begun = time.perf_counter()
        if ends_as is State.QUEUED:
            await queue.finish_job(held)
        else:
            await queue.fail_job(held, "on purpose", retry=False)
        while True:  # nobody else tells when jobs are queued
            counts = (await queue.graph(graph)).counts
            if sum(each.jobs for each in counts if each.state == ends_as) >= jobs:
                return time.perf_counter() - begun
            await asyncio.sleep(LOOK_AGAIN)

    what = "fan-out" if ends_as is State.QUEUED else "fan-out, skipped"
    row = _row(what, jobs, *await watched(queue, work()))
    await queue.cancel_graph(graph)
    return row


async def _timed(queue: JobQueue, graph: Graph) -> float:
    begun = time.perf_counter()
    await queue.submit(graph)
    return time.perf_counter() - begun


def _row(what: str, jobs: int, seconds: float, usual: float, longest: float) -> Row:
    return {
        "what": what, "jobs": jobs, "edges": jobs, "seconds": seconds, "usual": usual,
        "longest": longest,
    }  # fmt: skip


def _probe(shape: Shape) -> Plan:
    match shape:
        case Shape.FLAT:
            return WORKLOADS["flat"].make(PROBE)
        case Shape.CHAINS:
            return chains(PROBE // CHAIN, CHAIN)
        case Shape.RANDOM:
            return WORKLOADS["random"].make(PROBE)
