"""Jobs at a steady rate, sent by a process of its own, whatever else this one is busy with.

As a program, ``python -m benchmarks.scale.stream`` sends until its standard input ends, then says
when each job was due, when its enqueue had returned, and when it started.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

from benchmarks.contenders.contender import Place
from benchmarks.loops import make_runner
from benchmarks.processes import ROOT
from benchmarks.scale.figures import Sample
from broker_queue import Graph, JobQueue
from broker_queue.local_broker.guard import guarded

LINE_LIMIT = 1 << 26
"""Bytes of the answer."""

PATIENCE = 120.0
"""Seconds for an answer of the scheduler, and for the last jobs."""

STOP_TIMEOUT = 10.0


class StreamFailed(Exception):
    """The process ended without its answer."""


class Stream:
    """The process that sends, for as long as the context lasts.

    Args:
        place: of the scheduler.
        job_type: of the jobs.
        rate: jobs a second.
        batch: jobs of one submit.
    """

    def __init__(self, place: Place, job_type: str, rate: float, batch: int = 1) -> None:
        self._place = place
        self._arguments = [job_type, str(rate), str(batch)]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *guarded([sys.executable, "-m", "benchmarks.scale.stream", *self._arguments]),
            cwd=ROOT,
            env=os.environ | self._place.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
        )
        await self._line()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._process.wait()

    async def stop(self) -> list[Sample]:
        """Send no more, and return what became of all jobs, in the order in which they were due.

        Raises:
            StreamFailed: not all have finished.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        return [Sample(*each) for each in await self._line()]

    async def _line(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise StreamFailed("what sends unrelated jobs ended before its time")
        return json.loads(line)


class _Sending:
    def __init__(self, queue: JobQueue, job_type: str, batch: int) -> None:
        self._queue = queue
        self._type = job_type
        self._batch = batch
        self._sent: list[tuple[float, float, str]] = []

    async def until(self, stopped: asyncio.Event, interval: float) -> list[Sample]:
        """Send a batch each interval; when stopped, return what became of the jobs."""
        due = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while not stopped.is_set():
                group.create_task(self._send(due))
                due += interval
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, due - time.monotonic())):
                        await stopped.wait()
        self._sent.sort()
        ended = await self._queue.wait([job for _, _, job in self._sent], timeout=PATIENCE)
        return [
            Sample(due, answered, status.result[0])
            for (due, answered, _), status in zip(self._sent, ended, strict=True)
        ]

    async def _send(self, due: float) -> None:
        if self._batch == 1:
            jobs = [str(await self._queue.enqueue(self._type))]
        else:
            graph = Graph()
            jobs = [graph.add(self._type).id for _ in range(self._batch)]
            await self._queue.submit(graph)
        answered = time.monotonic()
        self._sent += [(due, answered, job) for job in jobs]


async def _send(job_type: str, rate: float, batch: int) -> None:
    place = Place.from_environment()
    async with JobQueue(place.broker, namespace=place.namespace, timeout=PATIENCE) as queue:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(None, sys.stdin.read)
        reading.add_done_callback(lambda _: stopped.set())
        await queue.workers()  # the first request makes its connection
        print(json.dumps("started"), flush=True)
        samples = await _Sending(queue, job_type, batch).until(stopped, batch / rate)
    print(json.dumps(samples), flush=True)


def main(job_type: str, rate: str, batch: str) -> None:
    """Send until the end of stdin."""
    work: Coroutine[Any, Any, None] = _send(job_type, float(rate), int(batch))
    with make_runner() as runner:
        runner.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
