"""Workloads of one transaction each: what the database is made to hold, and what is then counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from msgspec import Raw

from broker_queue.protocol.messages import Backoff, Cancel, NewGraph, NewJob, Reference
from scheduler.operations.reports import Incoming
from scheduler.operations.timers import Leases
from scheduler.rules.lifecycle import Fail
from scheduler.store.dispatch import Handout
from scheduler.tokens import Token
from scheduler.work import Work
from tests.cost.database import NOW, ROOM, Store, finished, job_id, new_store, request, submit

Prepare: TypeAlias = Callable[[Store], Awaitable[Work]]
"""Fills a new database, and returns the work whose transaction is counted."""

GRAPH = NewGraph(id=job_id(1 << 40))
BACKLOG, BACKLOG_WINDOW = 1_000, 200
CHAINS = 100


def flat(count: int) -> list[NewJob]:
    """Return jobs that depend on nothing."""
    return [_job(number) for number in range(count)]


def chained(count: int) -> list[NewJob]:
    """Return pairs of jobs, of which the second takes the result of the first."""
    jobs = []
    for number in range(0, 2 * count, 2):
        child = _job(number + 1)
        child.dependencies = [number]
        child.references = [Reference(at="/n", job=number)]
        jobs += [_job(number), child]
    return jobs


def _job(number: int) -> NewJob:
    return NewJob(id=job_id(number), type="work", args=Raw(b'{"n":0}'), max_attempts=2)


async def submitting(_store: Store, count: int) -> Work:
    """All are handed out in the same transaction."""
    return Work(now=NOW, requests=[submit(flat(count), graph=GRAPH)], room=ROOM)


async def confirming(store: Store, count: int) -> Work:
    done = await store.apply(Work(now=NOW, requests=[submit(flat(count))], room=ROOM))
    return Work(now=NOW, published=[(item.key, item.handover) for item in done.effects.handouts])


async def folding(store: Store, count: int) -> Work:
    return _reports(await store.submit(flat(count), graph=GRAPH))


async def folding_failures(store: Store, count: int) -> Work:
    """Each is tried again later."""
    handouts = await store.submit(flat(count))
    reports = [
        Incoming(Token(it.id, it.handover, it.key), Fail(it.handover, delay=1_000))
        for it in handouts
    ]
    return Work(now=NOW, reports=reports, room=ROOM)


async def folding_with_backlog(store: Store, stored: int) -> Work:
    """Each makes room for another one in line; the graph has all the jobs that are stored."""
    store.window = BACKLOG_WINDOW
    handouts = await store.submit(flat(BACKLOG), graph=GRAPH)
    last = await store.confirm(await store.apply(_reports(handouts)))
    assert await store.multiply(stored // BACKLOG - 1) == stored
    return _reports(last)


async def stepping(store: Store, count: int) -> Work:
    """Each report hands out the job that waits for it, with the result filled in."""
    return _reports(await store.submit(chained(count)))


async def stepping_among_many(store: Store, stored: int) -> Work:
    """The others wait for each other too, and stand in line behind."""
    store.window = CHAINS
    handouts = await store.submit(chained(CHAINS))
    assert await store.multiply(stored // (2 * CHAINS) - 1) == stored
    return _reports(handouts)


async def closing_fan_in(store: Store, width: int) -> Work:
    jobs = flat(width)
    last = _job(width)
    last.dependencies = list(range(width))
    handouts = await store.submit([*jobs, last])
    for start in range(0, width - 1, 100):  # fewer than the edges of one transaction
        await store.apply(_reports(handouts[start : min(start + 100, width - 1)]))
    return _reports(handouts[-1:])


async def opening_fan_out(store: Store, width: int) -> Work:
    jobs = flat(width + 1)
    for child in jobs[1:]:
        child.dependencies = [0]
    return _reports(await store.submit(jobs))


async def canceling(store: Store, count: int) -> Work:
    """All were handed out."""
    await store.submit(flat(count))
    message = Cancel(jobs=[job_id(number) for number in range(count)])
    return Work(now=NOW, requests=[request("cancel", message)], room=ROOM)


async def canceling_graph(store: Store, count: int) -> Work:
    await store.submit(flat(count), graph=GRAPH)
    return Work(now=NOW, requests=[request("cancel", Cancel(graph=GRAPH.id))], room=ROOM)


async def coming_due(store: Store, count: int) -> Work:
    """Delays end, and the jobs are handed out."""
    jobs = flat(count)
    for job in jobs:
        job.delay = 1.0
        job.backoff = Backoff(jitter=0.0)
    await store.submit(jobs)
    return Work(now=NOW + 1_000, run_timers=True, leases=Leases(), room=ROOM)


async def renewing(_store: Store) -> Work:
    return Work(now=NOW, lead_until=NOW + 15_000)


def _reports(handouts: list[Handout]) -> Work:
    return Work(now=NOW, reports=[finished(item) for item in handouts], room=ROOM)


TRANSACTIONS: dict[str, Prepare] = {
    "submit of 100 flat jobs": partial(submitting, count=100),
    "submit of 1,000 flat jobs": partial(submitting, count=1_000),
    "confirm of 1 job": partial(confirming, count=1),
    "confirm of 200 jobs": partial(confirming, count=200),
    "fold of 1 report": partial(folding, count=1),
    "fold of 200 reports": partial(folding, count=200),
    "fold of 1 failure": partial(folding_failures, count=1),
    "fold of 200 failures": partial(folding_failures, count=200),
    "fold of 200 reports, 1,000 jobs stored": partial(folding_with_backlog, stored=1_000),
    "fold of 200 reports, 50,000 jobs stored": partial(folding_with_backlog, stored=50_000),
    "step of 1 chain": partial(stepping, count=1),
    "step of 100 chains": partial(stepping, count=100),
    "step of 100 chains, 200 jobs stored": partial(stepping_among_many, stored=200),
    "step of 100 chains, 50,000 jobs stored": partial(stepping_among_many, stored=50_000),
    "last report of a fan-in of 100": partial(closing_fan_in, width=100),
    "last report of a fan-in of 1,000": partial(closing_fan_in, width=1_000),
    "report before a fan-out of 100": partial(opening_fan_out, width=100),
    "report before a fan-out of 1,000": partial(opening_fan_out, width=1_000),
    "cancel of 10 jobs": partial(canceling, count=10),
    "cancel of 100 jobs": partial(canceling, count=100),
    "cancel of a graph of 100": partial(canceling_graph, count=100),
    "end of 1 delay": partial(coming_due, count=1),
    "end of 100 delays": partial(coming_due, count=100),
    "renewal of the leadership": renewing,
}


async def count_transaction(name: str, folder: Path) -> dict[str, int]:
    """Return what the transaction of a workload costs."""
    async with new_store(folder / name) as store:
        return await store.count(await TRANSACTIONS[name](store))


async def count_bytecodes(prepare: Prepare, folder: Path) -> int:
    """Return how many instructions of Python a transaction takes."""
    async with new_store(folder) as store:
        return await store.count_bytecodes(await prepare(store))
