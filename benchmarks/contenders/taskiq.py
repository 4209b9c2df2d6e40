"""Taskiq: two worker processes with a hundred tasks each; results in Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from taskiq_aio_pika import AioPikaBroker
from taskiq_aio_pika.queue import Queue
from taskiq_redis import RedisAsyncResultBackend

from benchmarks import work
from benchmarks.contenders.contender import Place
from benchmarks.loops import make_runner
from benchmarks.processes import Processes
from benchmarks.workloads import Plan, Submission

PROCESSES, TASKS = 2, 100
CALLERS = 50
"""Tasks that enqueue at once."""

LOOK_AGAIN = 0.005
"""Seconds between two looks for a result; the default of 0.2 would be seen in the figures."""

START_TIMEOUT = 60.0


def _broker(place: Place) -> AioPikaBroker:
    queue = Queue(name=f"{place.namespace}-taskiq")
    made = AioPikaBroker(place.broker, qos=TASKS, task_queues=[queue])
    return made.with_result_backend(RedisAsyncResultBackend(place.redis))


async def _checksum(salt: int) -> int:
    return work.checksum(salt)


broker = _broker(Place.from_environment())
checksum: Any = broker.register_task(_checksum, task_name="checksum")


class Taskiq:
    """A client in this process, two worker processes and the one that started them."""

    def __init__(self, place: Place) -> None:
        self._processes = Processes(Path(place.folder), place.environment)
        self._runner = make_runner()

    def why_not(self, plan: Plan) -> str | None:
        if any(task.parents for task in plan.tasks):
            return "has no dependencies"
        if plan.submission is Submission.HUNDREDS:
            return "no bulk call: see one by one"
        return None

    @property
    def pids(self) -> list[int]:
        return self._processes.pids

    def start(self) -> None:
        self._processes.start(
            "taskiq-worker",
            [
                "taskiq", "worker", "benchmarks.contenders.taskiq:broker",
                "--workers", str(PROCESSES), "--max-async-tasks", str(TASKS),
                "--log-level", "WARNING",
            ],
        )  # fmt: skip
        self._runner.run(self._connect())

    def run(self, plan: Plan, run: str) -> list[int]:
        return self._runner.run(self._run(plan))

    def stop(self) -> None:
        self._runner.run(broker.shutdown())
        self._runner.close()
        self._processes.stop()

    async def _connect(self) -> None:
        await broker.startup()
        first = await checksum.kiq(0)
        await first.wait_result(check_interval=LOOK_AGAIN, timeout=START_TIMEOUT)

    async def _run(self, plan: Plan) -> list[int]:
        sent: list[Any] = [None] * len(plan.tasks)

        async def call(first: int, step: int) -> None:
            for position in range(first, len(sent), step):
                sent[position] = await checksum.kiq(plan.tasks[position].salt)

        callers = CALLERS if plan.submission is Submission.AT_ONCE else 1
        await asyncio.gather(*(call(first, callers) for first in range(callers)))
        results = []
        for each in sent:
            result = await each.wait_result(check_interval=LOOK_AGAIN)
            result.raise_for_error()
            results.append(result.return_value)
        return results
