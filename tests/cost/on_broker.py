"""Workloads of a scheduler, a worker and a client on a real broker, each behind a proxy that counts.

The worker's jobs end when all of them are running, or one after the other, so that what is sent
does not depend on who is faster.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from uuid import uuid4

from broker_queue import execution
from broker_queue.client import JobQueue
from broker_queue.graph import Graph
from broker_queue.worker import Worker
from scheduler import service
from tests.cost.budgets import Counts
from tests.cost.counting import CountedDatabase
from tests.cost.database import new_path
from tests.cost.wire import Tally
from tests.support.cleaning import delete_namespace
from tests.support.proxy import Proxy
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, until
from tests.support.workers import running

JOBS = 200
STEPS = 20
IDLE_TURNS = 10
NO_RENEWAL = 600.0
"""Seconds: a leadership so long that it is not renewed meanwhile."""

_IGNORED = ("requests hello", "requests workers")
"""Published: greetings of a worker, which come with time; how `Parties.settle` asks."""


@dataclass
class Parties:
    """Who is at work, and what each has sent.

    Attributes:
        namespace: of all of them.
        client: connected.
        worker_url: of the broker, as the worker is to reach it.
        tallies: by party.
        writer: the scheduler's database, whose statements are counted.
    """

    namespace: str
    client: JobQueue
    worker_url: str
    tallies: dict[str, Tally]
    writer: CountedDatabase
    transactions: int = 0
    """When counting began."""

    async def settle(self) -> None:
        """Return once the scheduler has told of all that it had committed before.

        It answers on the connection that events go out on, after a turn of its loop.
        """
        for _ in range(3):
            await self.client.workers()

    def clear(self) -> None:
        """Count from here on."""
        self.transactions = self.writer.statements.transactions
        for tally in self.tallies.values():
            tally.clear()


@asynccontextmanager
async def parties(url: str, folder: Path) -> AsyncIterator[Parties]:
    """A scheduler and a client that are connected through proxies, and a proxy for a worker."""
    database, namespace = new_path(folder), f"cost-{uuid4().hex[:12]}"
    made: list[CountedDatabase] = []

    def counted(location: str, cache: int) -> CountedDatabase:
        made.append(CountedDatabase(location, cache))
        return made[-1]

    tallies = {name: Tally(namespace) for name in ("scheduler", "worker", "client")}
    async with AsyncExitStack() as closing:
        closing.push_async_callback(delete_namespace, url, namespace, database)
        urls = {
            name: (await closing.enter_async_context(Proxy(url, tally.connection))).url
            for name, tally in tallies.items()
        }
        closing.enter_context(mock.patch.object(service, "Database", counted))
        scheduler = RunningScheduler(
            url=urls["scheduler"],
            namespace=namespace,
            database=database,
            takeover_after=NO_RENEWAL,
        )
        await closing.enter_async_context(scheduler)
        client = JobQueue(urls["client"], namespace=namespace, timeout=ANSWER_TIMEOUT)
        await closing.enter_async_context(client)
        yield Parties(namespace, client, urls["worker"], tallies, made[0])


async def flat_jobs(url: str, folder: Path) -> Counts:
    """All jobs are submitted together, run together and end together."""
    async with parties(url, folder) as these:
        started = 0
        gate = asyncio.Event()

        async def work(n: int) -> int:
            nonlocal started
            started += 1
            await gate.wait()
            return n

        async def has_begun() -> bool:
            waits = these.tallies["client"].published["requests wait"]
            return started == JOBS and waits == 2  # the first asks only whether it is over already

        graph = Graph("flat")
        for number in range(JOBS):
            graph.add("work", {"n": number})
        async with _working(these, work):
            await these.client.submit(graph)
            waiting = asyncio.create_task(these.client.wait(graph))
            await until(has_begun)
            gate.set()
            await waiting
            await these.settle()
            return _counted(these)


async def chained_jobs(url: str, folder: Path) -> Counts:
    """Each job is after the one before, and takes its result."""
    async with parties(url, folder) as these:

        async def work(n: int) -> int:
            return n + 1

        graph = Graph("chain")
        last = graph.add("work", {"n": 0})
        for _ in range(STEPS - 1):
            last = graph.add("work", {"n": last.result})
        async with _working(these, work):
            await these.client.submit(graph)
            assert await these.client.result(last) == STEPS
            await these.settle()
            counts = _counted(these)
            # One for several messages or one for each, as the machine is fast or slow.
            del counts["scheduler: acknowledgements"]
            return counts


async def idle(url: str, folder: Path) -> Counts:
    """A scheduler that has nothing to write: woken by requests that only read."""
    async with parties(url, folder) as these:
        await these.settle()
        before = these.writer.statements.executed
        for _ in range(IDLE_TURNS):
            await these.client.workers()
        return {"statements": these.writer.statements.executed - before}


ON_BROKER: dict[str, Callable[[str, Path], Awaitable[Counts]]] = {
    f"run of {JOBS} flat jobs": flat_jobs,
    f"run of a chain of {STEPS}": chained_jobs,
    f"{IDLE_TURNS} idle turns": idle,
}


@asynccontextmanager
async def _working(these: Parties, work: Callable[[int], Awaitable[int]]) -> AsyncIterator[None]:
    """A worker that has been greeted; counting begins then."""
    worker = Worker(concurrency=JOBS, name="cost")
    worker.register("work", work)
    short = mock.patch.object(execution, "STARTED_AFTER", 3600.0)  # on the slowest machine too
    with short:
        async with running(worker, these.worker_url, these.namespace):

            async def is_known() -> bool:
                return bool(await these.client.workers())

            await until(is_known)
            await these.settle()
            these.clear()
            yield


def _counted(these: Parties) -> Counts:
    counts: Counter[str] = Counter()
    for party, tally in these.tallies.items():
        for name, count in sorted(tally.published.items()):
            if name.startswith("direct "):  # whatever they are: some are to the worker's greetings
                counts[f"{party}: published answers"] += count
            elif name not in _IGNORED:
                counts[f"{party}: published {name}"] += count
        counts[f"{party}: acknowledgements"] = tally.methods["Basic.Ack"]
        counts[f"{party}: bytes sent"] = tally.sent
        counts[f"{party}: bytes received"] = tally.received
    transactions = these.writer.statements.transactions - these.transactions
    return {"scheduler: transactions": transactions, **counts}
