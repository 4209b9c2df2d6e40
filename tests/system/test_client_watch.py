"""Watching: the present first, then every change, no gap, nothing twice, and an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from broker_queue import Graph, Invalid, JobQueue, NotExist, State, Unavailable, watch
from broker_queue.graph import new_job_id
from broker_queue.protocol.messages import JobEvent, JobStatus, Progress, encode
from broker_queue.watch import Progression, event_of
from tests.support.proxy import Proxy
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE

JOB = new_job_id()

W, S, Q, R, FINISHED = (
    State.WAITING,
    State.SCHEDULED,
    State.QUEUED,
    State.RUNNING,
    State.FINISHED,
)


def event(state: State, attempt: int = 1, at: int = 100, **more: object) -> JobEvent:
    return JobEvent(job=JOB, state=state, attempt=attempt, at=at, **more)  # type: ignore[arg-type]  # by keyword


def news(*events: JobEvent, after: JobStatus | None = None) -> list[tuple[State, int]]:
    """Return what is shown of `events`, after a snapshot, as (state, attempt)."""
    progression = Progression([JOB], None)
    if after is not None:
        first, is_exact = event_of(after)
        assert progression.take(first, is_exact=is_exact)
    return [(item.state, item.attempt) for item in events if progression.take(item)]


class TestProgression:
    """What is news, decided without a broker."""

    def test_every_state_of_a_life_is_shown(self) -> None:
        life = [(W, 0), (S, 0), (Q, 1), (R, 1), (S, 1), (Q, 2), (R, 2), (FINISHED, 2)]
        events = [event(state, attempt, at) for at, (state, attempt) in enumerate(life)]
        assert news(*events) == life

    def test_states_within_one_millisecond_are_shown_in_order(self) -> None:
        life = [(W, 0), (Q, 1), (R, 1), (Q, 2), (R, 2), (FINISHED, 2)]
        assert news(*(event(state, attempt) for state, attempt in life)) == life

    def test_events_that_the_snapshot_already_shows_are_no_news(self) -> None:
        snapshot = JobStatus(id=JOB, state=R, queued=1, ready=2, started=50, attempt=1)
        before = [event(W, 0, 1), event(Q, 1, 2), event(R, 1, 50)]
        assert news(*before, event(FINISHED, 1, 60), after=snapshot) == [(FINISHED, 1)]

    def test_a_snapshot_whose_moment_is_unknown_is_compared_by_attempt(self) -> None:
        snapshot = JobStatus(id=JOB, state=Q, queued=1, ready=2, attempt=2)
        before = [event(R, 1, 10), event(S, 1, 20), event(Q, 2, 30)]
        assert news(*before, event(R, 2, 40), after=snapshot) == [(R, 2)]

    def test_a_job_that_was_handed_back_is_shown_queued_again(self) -> None:
        events = [event(R, 1, 10), event(Q, 1, 20), event(R, 1, 30)]
        assert news(*events) == [(R, 1), (Q, 1), (R, 1)]

    def test_nothing_follows_a_final_state(self) -> None:
        assert news(event(FINISHED, 1, 10), event(R, 1, 20), event(State.FAILED, 2, 30)) == [
            (FINISHED, 1)
        ]

    def test_a_final_state_is_news_whatever_its_clock_says(self) -> None:
        assert news(event(R, 3, 100), event(FINISHED, 1, 5)) == [(R, 3), (FINISHED, 1)]

    def test_progress_is_shown_when_it_changes(self) -> None:
        half = Progress(fraction=0.5)
        events = [event(R), event(R, progress=half), event(R, progress=half), event(R)]
        assert news(*events) == [(R, 1), (R, 1)]

    def test_other_jobs_are_not_shown(self) -> None:
        progression = Progression([JOB], "g")
        assert not progression.take(JobEvent(job=new_job_id(), state=Q, at=1))
        assert progression.take(JobEvent(job=new_job_id(), state=Q, at=1, graph="g"))


async def follow(events: AsyncGenerator[JobEvent, None]) -> list[tuple[str, str]]:
    """Return job and state of each event until the end."""
    async with asyncio.timeout(PATIENCE), aclosing(events):
        return [(item.job, item.state.value) async for item in events]


async def run_next(queue: JobQueue, job_type: str) -> None:
    await queue.finish_job(await queue.dequeue(job_type, timeout=PATIENCE))


async def test_a_watch_begins_with_the_present_and_ends_with_the_job(queue: JobQueue) -> None:
    first = await queue.enqueue("a")
    second = await queue.enqueue("b", dependencies=[first])
    seen = []
    async for item in queue.watch(first, second):
        seen.append((item.job, item.state.value))
        if seen[-1] == (second, "waiting"):
            await run_next(queue, "a")
            await run_next(queue, "b")

    of_first = [state for job, state in seen if job == first]
    of_second = [state for job, state in seen if job == second]
    assert seen[:2] == [(first, "queued"), (second, "waiting")]
    assert of_first == ["queued", "running", "finished"]
    assert of_second == ["waiting", "queued", "running", "finished"]


async def test_jobs_that_have_ended_are_shown_once(queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    await queue.cancel_job(job)

    assert await follow(queue.watch(job, job)) == [(job, "canceled")]


async def test_each_event_says_what_it_is_about(queue: JobQueue) -> None:
    graph = Graph()
    job = graph.add("build", name="docs", channel="acme")
    await queue.submit(graph)
    async with aclosing(queue.watch(job)) as events:
        found = await anext(events)

    assert (found.type, found.name, found.channel) == ("build", "docs", "acme")
    assert (found.graph, found.attempt) == (graph.id, 1)


async def test_a_graph_is_watched_with_what_is_added_to_it(queue: JobQueue) -> None:
    graph = Graph()
    first = graph.add("a")
    await queue.submit(graph)
    added = None
    seen = []
    async for item in queue.watch(graph=graph):
        seen.append((item.job, item.state.value))
        if seen[-1] == (first.id, "queued"):
            added = graph.add("b", dependencies=[first])
            await queue.submit(graph)
            await run_next(queue, "a")
            await run_next(queue, "b")

    assert added is not None
    assert (first.id, "finished") in seen
    assert seen[-1] == (added.id, "finished")
    assert len(seen) == len(set(seen))


async def test_a_failure_comes_with_its_error(queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    await queue.fail_job(await queue.dequeue("a", timeout=PATIENCE), "no luck", code="unlucky")

    async for item in queue.watch(job):
        assert item.error is not None
        assert (item.error.code, item.error.message) == ("unlucky", "no luck")


async def test_progress_is_seen(queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    taken = await queue.dequeue("a", timeout=PATIENCE)
    fractions = []
    async for item in queue.watch(job):
        if item.progress is None and item.state is State.RUNNING:
            body = encode(Progress(fraction=0.5, message="half"))
            await queue._requests.tell("progress", taken.token, body, timeout=PATIENCE)
        elif item.state is State.RUNNING and item.progress is not None:
            fractions.append(item.progress.fraction)
            await queue.finish_job(taken)

    assert fractions == [0.5]


async def test_without_events_a_watch_ends_all_the_same(
    broker_url: str, namespace: str, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_INTERVAL", 0.05)
    silent = RunningScheduler(url=broker_url, namespace=namespace, database=database, events=False)
    async with silent, JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        graph = Graph()
        job = graph.add("a")
        await queue.submit(graph)
        alone = await queue.enqueue("b")
        watching = [
            asyncio.create_task(follow(queue.watch(alone))),
            asyncio.create_task(follow(queue.watch(graph=graph))),
        ]
        await run_next(queue, "a")
        await run_next(queue, "b")

        of_job, of_graph = await asyncio.gather(*watching)

    assert of_job[-1] == (alone, "finished")
    assert of_graph[-1] == (job.id, "finished")


async def test_a_watch_goes_on_after_a_lost_connection(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    first = await queue.enqueue("a")
    second = await queue.enqueue("a", dependencies=[first])
    seen = []
    async with (
        Proxy(broker_url) as proxy,
        JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as cut,
    ):
        async for item in cut.watch(first, second):
            seen.append((item.job, item.state.value))
            if seen[-1] == (second, "waiting"):
                proxy.cut()
                await run_next(queue, "a")
            elif seen[-1] == (first, "finished"):
                await run_next(queue, "a")

    assert (first, "finished") in seen
    assert seen[-1] == (second, "finished")
    assert len(seen) == len(set(seen))


async def test_a_watch_ends_when_its_client_is_closed(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    job = await queue.enqueue("a")
    client = JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT)
    await client.connect()
    events = client.watch(job)
    await anext(events)
    await client.close()

    with pytest.raises(Unavailable):
        await anext(events)


async def test_an_unknown_job_or_graph_cannot_be_watched(queue: JobQueue) -> None:
    with pytest.raises(NotExist):
        await follow(queue.watch(new_job_id()))
    with pytest.raises(NotExist):
        await follow(queue.watch(graph=new_job_id()))
    with pytest.raises(Invalid, match="name at least one job, or a graph"):
        queue.watch()
