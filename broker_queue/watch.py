"""Watching jobs: what they are now, then every change, until they have ended.

Events come from the events exchange. They are not persistent, and the scheduler publishes them
beside its answers, so one may come before or after the snapshot that already shows it. `Progression`
therefore decides for each, by its moment and by the order of a job's states, whether it is news.
Snapshots are read at the start, after a lost connection, and now and then: a lost event may cost
time, but nothing waits for it for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, TypeVar

from broker_queue.amqp.channel import Channel, Delivery
from broker_queue.amqp.failures import Unroutable
from broker_queue.errors import Invalid, Unavailable
from broker_queue.job import GraphId, JobId, State
from broker_queue.protocol import messages
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import (
    GetGraph,
    GetStatus,
    GraphStatus,
    ListJobs,
    Message,
    StatusPage,
    Wait,
    Waited,
)
from broker_queue.requests import Requests
from broker_queue.status import JobEvent
from broker_queue.waiting import MAX_IDS

M = TypeVar("M", bound=Message)

log = logging.getLogger(__name__)

POLL_INTERVAL = 5.0
"""Seconds between snapshots; what a lost event costs at most."""

PAUSE = 1.0
"""Seconds before a watch whose connection was lost begins again."""

PREFETCH = 1_000
"""Events that lie here unread; beyond that the broker keeps them for a slow reader."""

MAX_QUEUED = 100_000
"""Events that the broker keeps for a slow reader; snapshots make up for what it drops."""

PAGE = 1_000

PHASES = {
    State.WAITING: 0,
    State.QUEUED: 1,
    State.RUNNING: 2,
    State.SCHEDULED: 3,
    State.FINISHED: 4,
    State.FAILED: 4,
    State.SKIPPED: 4,
    State.CANCELED: 4,
}
"""The order of states within one attempt. `scheduled` is last of those that are not final: it ends
an attempt (or, as a delay, comes before the first, whose number is 0)."""


class _Shown(NamedTuple):
    """The last that was shown of a job; `is_exact` says whether `at` is when its state began."""

    event: messages.JobEvent
    is_exact: bool


class Progression:
    """What was shown of each job, and so what is news.

    Args:
        jobs: to be watched.
        graph: watch all jobs of this graph, too.
    """

    def __init__(self, jobs: Iterable[str], graph: str | None) -> None:
        self._graph = graph
        self._shown: dict[str, _Shown | None] = dict.fromkeys(jobs)
        self._had_news = False
        self.open: set[str] = set(self._shown)
        """Jobs that have not ended, as far as was shown."""

    def graph_states(self) -> Counter[State]:
        """Return how many jobs of the graph were last shown in each state."""
        shown = (item.event for item in self._shown.values() if item is not None)
        return Counter(event.state for event in shown if event.graph == self._graph)

    def had_news(self) -> bool:
        """Whether there was any news since this was last asked."""
        had_news, self._had_news = self._had_news, False
        return had_news

    def take(self, event: messages.JobEvent, *, is_exact: bool = True) -> bool:
        """Whether `event` is news; then it counts as shown."""
        if event.job not in self._shown and (self._graph is None or event.graph != self._graph):
            return False
        shown = self._shown.get(event.job)
        if shown is not None and not _is_news(event, is_exact, shown):
            return False
        self._shown[event.job] = _Shown(event, is_exact)
        self._had_news = True
        if event.state.is_final:
            self.open.discard(event.job)
        else:
            self.open.add(event.job)
        return True


def _is_news(event: messages.JobEvent, is_exact: bool, shown: _Shown) -> bool:
    before = shown.event
    if before.state.is_final or event.state.is_final:
        return not before.state.is_final
    if (event.state, event.attempt) == (before.state, before.attempt):
        return event.progress is not None and event.progress != before.progress
    if is_exact and shown.is_exact and event.at != before.at:
        return event.at > before.at
    return _rank(event) > _rank(before)


def _rank(event: messages.JobEvent) -> tuple[int, int]:
    return event.attempt, PHASES[event.state]


def event_of(status: messages.JobStatus) -> tuple[messages.JobEvent, bool]:
    """Return a status as an event, and whether the time is when the state began."""
    moments = {State.WAITING: status.queued, State.RUNNING: status.started}
    began = status.finished if status.state.is_final else moments.get(status.state)
    event = messages.JobEvent(
        job=status.id,
        state=status.state,
        at=began if began is not None else status.ready or status.queued,
        type=status.type,
        name=status.name,
        channel=status.channel,
        graph=status.graph,
        attempt=status.attempt,
        error=status.error,
        progress=status.progress,
    )
    return event, began is not None


class Watching:
    """One watch.

    Args:
        requests: connected.
        jobs: to be watched.
        graph: watch all jobs of this graph, too.
        timeout: seconds within which the scheduler must answer.
    """

    def __init__(
        self, requests: Requests, jobs: Sequence[JobId], graph: GraphId | None, timeout: float
    ) -> None:
        if not jobs and graph is None:
            raise Invalid("jobs: name at least one job, or a graph", {"field": "jobs"})
        self._requests = requests
        self._jobs = jobs
        self._graph = graph
        self._timeout = timeout
        self._progression = Progression(jobs, graph)
        self._next_poll = 0.0

    async def events(self) -> AsyncGenerator[JobEvent, None]:
        """See `JobQueue.watch`."""
        await self._refuse_unknown()
        while True:
            try:
                async with self._subscribe() as feed:
                    for event in self._news(await self._snapshot()):
                        yield JobEvent.from_message(event)
                    self._next_poll = asyncio.get_running_loop().time() + POLL_INTERVAL
                    while not await self._is_over():
                        for event in await self._next(feed):
                            yield JobEvent.from_message(event)
                    return
            except Unavailable as error:
                if not self._requests.is_open:
                    raise
                log.warning("the watch goes on as soon as it can: %s", error)
                await asyncio.sleep(PAUSE)

    async def _refuse_unknown(self) -> None:
        """Learn whether there is a scheduler, and whether it knows what is to be watched.

        From then on every outage is sat out.
        """
        await self._open_of(self._jobs)
        if self._graph is not None:
            await self._graph_status()

    @asynccontextmanager
    async def _subscribe(self) -> AsyncIterator[_Feed]:
        session = await self._requests.session(self._timeout)
        channel = await session.open_channel(confirms=False)
        feed = _Feed(channel)
        try:
            await feed.start(self._requests.names.events)
            yield feed
        except Unroutable:
            raise self._requests.no_scheduler() from None
        finally:
            await feed.close()

    async def _next(self, feed: _Feed) -> list[messages.JobEvent]:
        """Return what is news, as soon as there is any, or after the next poll."""
        now = asyncio.get_running_loop().time()
        if now < self._next_poll:
            found = await feed.next(self._next_poll - now)
            return [event for event in found if self._progression.take(event)]
        self._next_poll = now + POLL_INTERVAL
        return self._news([*await self._ended_jobs(), *await self._graph_if_different()])

    def _news(self, statuses: Iterable[messages.JobStatus]) -> list[messages.JobEvent]:
        found = []
        for status in statuses:
            event, is_exact = event_of(status)
            if self._progression.take(event, is_exact=is_exact):
                found.append(event)
        return found

    async def _snapshot(self) -> list[messages.JobStatus]:
        """Return the status of every job that has not ended, as far as was shown."""
        jobs = [job for job in self._jobs if job in self._progression.open]
        listed = [] if self._graph is None else await self._list_graph()
        return [*await self._statuses(jobs), *listed]

    async def _ended_jobs(self) -> list[messages.JobStatus]:
        """Return the status of those that have ended, though nothing was heard of it."""
        waiting = [job for job in self._jobs if job in self._progression.open]
        still_open = await self._open_of(waiting)
        return await self._statuses([job for job in waiting if job not in still_open])

    async def _open_of(self, jobs: Sequence[str]) -> set[str]:
        """Return those of the jobs that have not ended."""
        found: set[str] = set()
        for start in range(0, len(jobs), MAX_IDS):
            chunk = list(jobs[start : start + MAX_IDS])
            found.update((await self._ask("wait", Wait(jobs=chunk, timeout=0.0), Waited)).open)
        return found

    async def _statuses(self, jobs: Sequence[str]) -> list[messages.JobStatus]:
        found = []
        while jobs:
            request = GetStatus(jobs=list(jobs[:PAGE]), result=False)
            page = await self._ask("status", request, StatusPage)
            found += page.jobs
            jobs = [*page.more, *jobs[PAGE:]]
        return found

    async def _graph_if_different(self) -> list[messages.JobStatus]:
        """Return all jobs of the graph, if their states differ from what was shown and stay so."""
        if self._graph is None:
            return []
        status = await self._graph_status()
        counts: Counter[State] = Counter()
        for count in status.counts:
            counts[count.state] += count.jobs
        is_quiet = not self._progression.had_news()
        if counts == self._progression.graph_states() or not (is_quiet or _has_ended(status)):
            return []
        return await self._list_graph()

    async def _list_graph(self) -> list[messages.JobStatus]:
        found: list[messages.JobStatus] = []
        before: int | None = None
        while True:
            request = ListJobs(graph=self._graph, limit=PAGE, before=before)
            page = await self._ask("list", request, StatusPage)
            found += page.jobs
            before = page.next
            if before is None:
                return found[::-1]

    async def _is_over(self) -> bool:
        if self._progression.open:
            return False
        if self._graph is None:
            return True
        status = await self._graph_status()
        known = self._progression.graph_states().total()
        return _has_ended(status) and sum(count.jobs for count in status.counts) == known

    async def _graph_status(self) -> GraphStatus:
        return await self._ask("graph", GetGraph(graph=self._graph or ""), GraphStatus)

    async def _ask(self, operation: str, body: Message, answer: type[M]) -> M:
        return await self._requests.ask(operation, body, answer, timeout=self._timeout)


class _Feed:
    """Events as they come in, in batches; the broker keeps what a slow reader leaves."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._arrivals: asyncio.Queue[Delivery | None] = asyncio.Queue()
        channel.session.lost.add_done_callback(self._on_lost)

    async def start(self, exchange: str) -> None:
        queue = await self._channel.declare_private_queue(exchange, "#", MAX_QUEUED)
        await self._channel.consume(queue, self._arrivals.put_nowait, prefetch=PREFETCH)

    async def next(self, timeout: float) -> list[messages.JobEvent]:
        """Return what has come in, waiting at most `timeout` seconds for the first.

        Raises:
            Unavailable: the connection was lost.
        """
        found = []
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                found.append(await self._arrivals.get())
        while not self._arrivals.empty():
            found.append(self._arrivals.get_nowait())
        deliveries = [delivery for delivery in found if delivery is not None]
        if len(deliveries) < len(found):
            raise Unavailable("the connection was lost")
        if deliveries:
            await deliveries[-1].acknowledge(multiple=True)
        return [event for event in map(_read, deliveries) if event is not None]

    async def close(self) -> None:
        self._channel.session.lost.remove_done_callback(self._on_lost)
        await self._channel.close()

    def _on_lost(self, _lost: asyncio.Future[str]) -> None:
        self._arrivals.put_nowait(None)


def _read(delivery: Delivery) -> messages.JobEvent | None:
    try:
        return decode(delivery.body, messages.JobEvent)
    except Invalid as error:
        log.debug("not an event: %s", error)
        return None


def _has_ended(graph: GraphStatus) -> bool:
    return all(count.state.is_final for count in graph.counts)
