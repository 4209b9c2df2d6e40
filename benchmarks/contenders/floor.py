"""The floor: the same messages through quorum queues, with confirms and acks, and no scheduler.

The client knows the plan and sends a job as soon as it has the results of its parents; the worker
answers each message with one. Nothing is stored beyond that, so nothing that sends as many messages
is faster.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contenders.contender import Place
from benchmarks.loops import make_runner
from benchmarks.processes import Processes
from benchmarks.work import PlannedFailure, checksum
from benchmarks.workloads import Plan, Task
from broker_queue.amqp.channel import Channel, Delivery, Outgoing
from broker_queue.amqp.connection import Connection, Session

PREFETCH = 200
IN_FLIGHT = 500
"""Messages of one piece whose confirms are waited for together."""

START_TIMEOUT = 30.0


class Floor:
    """A client in this process and one worker process."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._processes = Processes(Path(place.folder), place.environment)
        self._runner = make_runner()
        jobs, results = _queues(place)
        self._end = _End(place.broker, results, jobs, self._on_result)
        self._run: _Run | None = None

    def why_not(self, plan: Plan) -> str | None:
        return "has no scheduler that could keep one" if plan.milestones else None

    @property
    def pids(self) -> list[int]:
        return self._processes.pids

    def start(self) -> None:
        self._processes.start("floor-worker", [sys.executable, "-m", "benchmarks.contenders.floor"])
        self._runner.run(self._end.open())
        first = Plan(tasks=[Task(0)], strands=None)  # its answer says that the worker is there
        self._runner.run(asyncio.wait_for(self._do(first, "start"), START_TIMEOUT))

    def run(self, plan: Plan, run: str) -> list[int]:
        return self._runner.run(self._do(plan, run))

    def stop(self) -> None:
        self._runner.run(self._end.close())
        self._runner.close()
        self._processes.stop()

    async def _do(self, plan: Plan, run: str) -> list[int]:
        self._run = _Run(plan, partial(self._place.marker, run), self._end)
        return await self._run.results()

    def _on_result(self, delivery: Delivery) -> None:
        if self._run is not None:
            self._run.on_result(json.loads(delivery.body))
        self._end.do(delivery.acknowledge())


class _End:
    """A connection that consumes one quorum queue and publishes to another, with confirms."""

    def __init__(
        self, url: str, queue: str, other: str, on_delivery: Callable[[Delivery], None]
    ) -> None:
        self._queue, self._other = queue, other
        self._on_delivery = on_delivery
        self._connection = Connection(url, name=queue, setup=self._set_up)
        self._channel: Channel | None = None
        self._doing: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        await self._connection.start(fail_fast=True)

    async def close(self) -> None:
        await self._connection.close()

    async def publish(self, content: object) -> None:
        """Send to the other end; return once the broker has confirmed it."""
        assert self._channel is not None
        body = json.dumps(content).encode()
        await self._channel.publish(Outgoing(exchange="", routing_key=self._other, body=body))

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something beside what comes in."""
        task = asyncio.create_task(work)
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)

    async def _set_up(self, session: Session) -> None:
        self._channel = await session.open_channel()
        for queue in (self._queue, self._other):
            await self._channel.underlying.queue_declare(
                queue, durable=True, arguments={"x-queue-type": "quorum"}
            )
        consuming = await session.open_channel(confirms=False)
        await consuming.consume(self._queue, self._on_delivery, prefetch=PREFETCH)


class _Run:
    """One plan: what has come back, and so what can be sent."""

    def __init__(self, plan: Plan, marker: Callable[[int], str], end: _End) -> None:
        self._plan = plan
        self._marker = marker
        self._end = end
        self._results = [0] * len(plan.tasks)
        self._missing = [len(task.parents) for task in plan.tasks]
        self._open = len(plan.tasks)
        self._children: dict[int, list[int]] = defaultdict(list)
        for position, task in enumerate(plan.tasks):
            for parent in task.parents:
                self._children[parent].append(position)
        self._done = asyncio.Event()

    async def results(self) -> list[int]:
        ready = [position for position, missing in enumerate(self._missing) if not missing]
        for start in range(0, len(ready), IN_FLIGHT):
            await asyncio.gather(*map(self._send, ready[start : start + IN_FLIGHT]))
        await self._done.wait()
        return self._results

    def on_result(self, answer: dict[str, Any]) -> None:
        position = answer["job"]
        if answer["result"] is None:
            self._end.do(self._send(position))
            return
        self._results[position] = answer["result"]
        for child in self._children[position]:
            self._missing[child] -= 1
            if not self._missing[child]:
                self._end.do(self._send(child))
        self._open -= 1
        if not self._open:
            self._done.set()

    async def _send(self, position: int) -> None:
        task = self._plan.tasks[position]
        job = {
            "job": position,
            "salt": task.salt,
            "parents": self._plan.inputs(task, self._results),
            "marker": self._marker(position) if task.fails_once else None,
        }
        await self._end.publish(job)


async def work(place: Place) -> None:
    """Answer jobs until the process is ended."""

    def on_job(delivery: Delivery) -> None:
        end.do(answer(delivery))

    async def answer(delivery: Delivery) -> None:
        job = json.loads(delivery.body)
        try:
            result = checksum(job["salt"], job["parents"], job["marker"])
        except PlannedFailure:
            result = None
        await end.publish({"job": job["job"], "result": result})
        await delivery.acknowledge()

    jobs, results = _queues(place)
    end = _End(place.broker, jobs, results, on_job)
    await end.open()
    await asyncio.Event().wait()


def _queues(place: Place) -> tuple[str, str]:
    return f"{place.namespace}.floor.jobs", f"{place.namespace}.floor.results"


if __name__ == "__main__":
    with make_runner() as runner:
        runner.run(work(Place.from_environment()))
