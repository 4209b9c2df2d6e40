"""Ours: one scheduler, one worker process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.contenders.contender import Place
from benchmarks.loops import make_runner
from benchmarks.processes import Processes
from benchmarks.workloads import Plan, Submission
from broker_queue import Graph, JobHandle, JobQueue, Unavailable
from broker_queue.cli import COMMAND

T = TypeVar("T")

START_TIMEOUT = 60.0
ANSWER_TIMEOUT = 120.0
"""Seconds; a submit of 100,000 jobs is one transaction."""

HUNDRED = 100
CALLERS = 50
"""Tasks that enqueue at once."""

SOON = 0.05
"""Seconds before a job that failed is tried again."""


class Ours:
    """One scheduler and one worker process, and a client in this one.

    Args:
        place: where.
        settings: of the scheduler.
    """

    def __init__(self, place: Place, **settings: str) -> None:
        self._place = place
        folder = Path(place.folder)
        environment = {
            "BROKER_QUEUE_URL": place.broker,
            "BROKER_QUEUE_NAMESPACE": place.namespace,
            "BROKER_QUEUE_DATABASE": str(folder / "jobs.sqlite3"),
            "BROKER_QUEUE_LOG_LEVEL": "warning",
            **{f"BROKER_QUEUE_{name.upper()}": value for name, value in settings.items()},
        }
        self._scheduler = Processes(folder, environment)
        self._worker = Processes(folder, environment)
        self._runner = make_runner()
        self._queue = JobQueue(place.broker, namespace=place.namespace, timeout=ANSWER_TIMEOUT)

    def why_not(self, plan: Plan) -> str | None:
        return None

    @property
    def pids(self) -> list[int]:
        return [*self._scheduler.pids, *self._worker.pids]

    @property
    def scheduler_pids(self) -> list[int]:
        return self._scheduler.pids

    def start(self) -> None:
        self.start_scheduler()
        self.start_worker("benchmarks.contenders.ours_worker:worker")

    def start_worker(self, target: str) -> None:
        """Start a worker process; return when the scheduler knows it."""
        number = len(self._worker.pids) + 1
        self._worker.start(f"worker-{number}", [*COMMAND, "worker", target])
        self._runner.run(self._until_workers_are_there(number))

    def start_scheduler(self) -> None:
        """Start the scheduler alone; return when it answers."""
        self._scheduler.start("scheduler", [*COMMAND, "scheduler"])
        self._runner.run(self._until_it_answers())

    def stop_scheduler(self) -> None:
        self._scheduler.stop()

    def kill_scheduler(self) -> None:
        self._scheduler.kill()

    def do(self, work: Callable[[JobQueue], Coroutine[Any, Any, T]]) -> T:
        """Return what a function does with the client."""
        return self._runner.run(work(self._queue))

    def run(self, plan: Plan, run: str) -> list[int]:
        return self._runner.run(self._run(plan, run))

    def latencies(self, jobs: int) -> list[float]:
        """Return the seconds from the end of each job of a chain to the start of the next."""
        return self._runner.run(self._latencies(jobs))

    def stop(self) -> None:
        self._runner.run(self._queue.close())
        self._runner.close()
        self._worker.stop()
        self._scheduler.stop()

    async def _until_it_answers(self) -> None:
        await self._queue.connect()
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                with suppress(Unavailable):
                    await self._queue.workers()
                    return
                await asyncio.sleep(0.02)

    async def _until_workers_are_there(self, number: int) -> None:
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                if len(await self._queue.workers()) >= number:
                    return
                await asyncio.sleep(0.1)

    async def _run(self, plan: Plan, run: str) -> list[int]:
        match plan.submission:
            case Submission.WHOLE:
                jobs = await self._submit(plan, run, range(len(plan.tasks)))
            case Submission.HUNDREDS:
                jobs = []
                for start in range(0, len(plan.tasks), HUNDRED):
                    end = min(start + HUNDRED, len(plan.tasks))
                    jobs += await self._submit(plan, run, range(start, end))
            case Submission.ONE_BY_ONE:
                jobs = [await self._enqueue(plan, run, each) for each in range(len(plan.tasks))]
            case Submission.AT_ONCE:
                jobs = await self._enqueue_at_once(plan, run)
        return [status.result for status in await self._queue.wait(jobs)]

    async def _submit(self, plan: Plan, run: str, positions: Sequence[int]) -> list[str]:
        graph = Graph(run)
        handles: dict[int, JobHandle] = {}
        gates = _Gates(graph, plan)
        for position in positions:
            after = [handles[parent] for parent in plan.tasks[position].parents]
            if plan.passes_results:
                args = self._args(plan, run, position, [each.result for each in after])
                after = []
            else:
                args = self._args(plan, run, position, [])
            if plan.milestones:
                after = gates.before(position, handles)
            options: dict[str, Any] = {}
            if plan.tasks[position].fails_once:
                options = {"max_attempts": 2, "backoff": timedelta(seconds=SOON)}
            handles[position] = graph.add("checksum", args, after, **options)
        await self._queue.submit(graph)
        return [handle.id for handle in handles.values()]

    async def _enqueue(self, plan: Plan, run: str, position: int) -> str:
        return await self._queue.enqueue("checksum", self._args(plan, run, position, []))

    async def _enqueue_at_once(self, plan: Plan, run: str) -> list[str]:
        jobs = [""] * len(plan.tasks)

        async def call(first: int) -> None:
            for position in range(first, len(jobs), CALLERS):
                jobs[position] = await self._enqueue(plan, run, position)

        async with asyncio.TaskGroup() as group:
            for first in range(CALLERS):
                group.create_task(call(first))
        return jobs

    def _args(self, plan: Plan, run: str, position: int, parents: list[Any]) -> dict[str, Any]:
        task = plan.tasks[position]
        args = {"salt": task.salt, "parents": parents}
        if task.fails_once:
            args["marker"] = self._place.marker(run, position)
        return args

    async def _latencies(self, jobs: int) -> list[float]:
        graph = Graph("latency")
        last: list[JobHandle] = []
        for _ in range(jobs):
            last = [graph.add("stamp", {}, last)]
        await self._queue.submit(graph)
        stamps = [status.result for status in await self._queue.wait(graph)]
        return [after[0] - before[1] for before, after in pairwise(stamps)]


class OursClassic(Ours):
    """The same with classic job queues, which is what peers use."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, queue_type="classic")


class _Gates:
    """The milestones between the stages of a plan."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self._graph = graph
        self._stage_before = {
            position: before
            for strand in plan.strands or ()
            for before, stage in pairwise(strand)
            for position in stage
        }
        self._made: dict[int, JobHandle] = {}

    def before(self, position: int, handles: dict[int, JobHandle]) -> list[JobHandle]:
        """Return the milestone that a job waits for, if it waits for any."""
        stage = self._stage_before.get(position)
        if stage is None:
            return []
        if stage[0] not in self._made:
            self._made[stage[0]] = self._graph.milestone([handles[each] for each in stage])
        return [self._made[stage[0]]]
