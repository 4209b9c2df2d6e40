"""Workers: functions, args and results, failures, progress, growth."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from broker_queue.client import JobQueue
from broker_queue.errors import ConfigurationError, JobError, JobNotFinished
from broker_queue.graph import Graph
from broker_queue.job import State
from broker_queue.protocol.codec import RawJson
from broker_queue.running import Job
from broker_queue.worker import Worker
from tests.support.waiting import PATIENCE, until
from tests.support.workers import running


class Args(BaseModel):
    number: int


class Doubled(BaseModel):
    value: int


async def test_an_async_function_with_models_is_checked_on_both_sides(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()

    @worker.job()
    async def double(args: Args) -> Doubled:
        return Doubled(value=2 * args.number)

    async with running(worker, broker_url, namespace):
        good = await queue.enqueue("double", Args(number=21))
        bad = await queue.enqueue("double", {"number": "many"})
        assert (await queue.result(good, model=Doubled)).value == 42
        status = await queue.wait(bad)
    assert status.state is State.FAILED
    assert status.error is not None
    assert status.error.code == "invalid_args"
    assert "number" in status.error.message


async def test_a_plain_function_runs_in_a_thread_and_gets_members_by_name(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()
    threads: list[str] = []

    @worker.job("resize")
    def resize(path: str, width: int = 100) -> dict[str, Any]:
        threads.append(threading.current_thread().name)
        return {"path": path, "width": width}

    async with running(worker, broker_url, namespace):
        job = await queue.enqueue("resize", {"path": "a.png"})
        unknown = await queue.enqueue("resize", {"path": "a.png", "height": 1})
        assert await queue.result(job) == {"path": "a.png", "width": 100}
        assert (await queue.wait(unknown)).state is State.FAILED
    assert threads == ["job resize"]


async def test_a_result_that_breaks_its_promise_fails_the_job(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker(max_result_bytes=100)

    @worker.job()
    async def wrong() -> int:
        return "many"  # type: ignore[return-value]

    @worker.job()
    async def nan() -> float:
        return float("nan")

    @worker.job()
    async def huge() -> str:
        return "x" * 101

    async with running(worker, broker_url, namespace):
        for kind in ("wrong", "nan", "huge"):
            status = await queue.wait(await queue.enqueue(kind))
            assert status.error is not None
            assert (kind, status.error.code) == (kind, "invalid_result")


async def test_raw_json_passes_through_unchanged(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()
    text = b'{"a" : 1.000, "b":123456789012345678901234567890, "c": "\\u0000"}'

    @worker.job()
    async def echo(args: Any, job: Job) -> RawJson:
        return job.raw_args

    async with running(worker, broker_url, namespace):
        job = await queue.enqueue("echo", RawJson(text))
        status = await queue.wait(job)
    assert status.raw_result == text


async def test_an_exception_is_reported_with_its_name_and_tried_again(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()
    attempts: list[int] = []

    @worker.job()
    async def flaky(job: Job) -> str:
        attempts.append(job.attempt)
        if job.attempt < 3:
            raise ZeroDivisionError("by zero")
        return "done"

    async with running(worker, broker_url, namespace):
        backoff = timedelta(milliseconds=1)
        job = await queue.enqueue("flaky", max_attempts=3, backoff=backoff)
        lost = await queue.enqueue("flaky", max_attempts=2, backoff=backoff)
        assert await queue.result(job) == "done"
        with pytest.raises(JobNotFinished, match="by zero"):
            await queue.result(lost)
        status = await queue.job_status(lost)
    assert attempts.count(1) == 2
    assert status.error is not None
    assert status.error.code == "ZeroDivisionError"
    assert status.attempt == 2


async def test_a_job_error_decides_about_the_next_attempt(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()

    @worker.job()
    async def hopeless() -> None:
        raise JobError("no such customer", code="unknown", details={"id": 7}, retry=False)

    async with running(worker, broker_url, namespace):
        status = await queue.wait(await queue.enqueue("hopeless", max_attempts=5))
    assert (status.state, status.attempt) == (State.FAILED, 1)
    assert status.error is not None
    assert (status.error.code, status.error.message) == ("unknown", "no such customer")


async def test_the_last_progress_is_kept(queue: JobQueue, broker_url: str, namespace: str) -> None:
    worker = Worker()
    go_on = asyncio.Event()

    @worker.job()
    async def long(job: Job) -> None:
        await job.progress(0.1, "first")
        await job.progress(0.5, "half", {"rows": 10})
        await go_on.wait()

    async with running(worker, broker_url, namespace):
        job = await queue.enqueue("long")

        async def is_half() -> bool:
            progress = (await queue.job_status(job)).progress
            return progress is not None and progress.message == "half"

        await until(is_half)
        status = await queue.job_status(job)
        assert status.state is State.RUNNING
        assert status.worker == worker.name
        go_on.set()
        await queue.wait(job)


async def test_a_running_job_enqueues_jobs_and_finishes_in_one_report(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()

    @worker.job()
    async def find(job: Job) -> list[int]:
        parts = [job.add("square", {"number": number}) for number in (1, 2, 3)]
        references = {f"/parts/{i}": part.result for i, part in enumerate(parts)}
        job.extend(rank.id, references=references)
        return [1, 2, 3]

    @worker.job()
    async def square(args: Args) -> int:
        return args.number**2

    @worker.job("rank")
    async def rank_them(parts: dict[str, list[int]]) -> int:
        return sum(parts["parts"])

    graph = Graph("growing")
    found = graph.add("find")
    rank = graph.add("rank", {"parts": [None, None, None]}, dependencies=[found])
    async with running(worker, broker_url, namespace):
        await queue.submit(graph)
        assert await queue.result(rank) == 14
        counts = (await queue.graph(graph.id)).counts
    assert sum(count.jobs for count in counts) == 5


async def test_jobs_that_are_refused_fail_the_job_that_added_them(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()

    @worker.job()
    async def grows(job: Job) -> str:
        job.add("never", dependencies=["01a20955-d902-7370-996e-6a7540d187fb"])
        return "done"

    async with running(worker, broker_url, namespace):
        status = await queue.wait(await queue.enqueue("grows", max_attempts=3))
        assert status.state is State.FAILED
        assert status.error is not None
        assert status.error.code == "invalid_jobs"
        assert "01a20955" in status.error.message
        assert len((await queue.list()).jobs) == 1


async def test_a_timeout_stops_coroutines_and_leaves_threads_behind(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()
    stopped = threading.Event()

    @worker.job()
    async def slow() -> None:
        await asyncio.Event().wait()

    @worker.job()
    def stubborn(job: Job) -> None:
        while not job.canceled:
            time.sleep(0.001)
        stopped.set()

    async with running(worker, broker_url, namespace):
        jobs = [await queue.enqueue(kind, timeout=0.2) for kind in ("slow", "stubborn")]
        statuses = await queue.wait(jobs)
    assert [status.error.code for status in statuses if status.error] == ["timeout", "timeout"]
    assert await asyncio.to_thread(stopped.wait, PATIENCE)


async def test_a_job_canceled_in_the_queue_never_runs(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker()
    ran: list[str] = []

    @worker.job()
    async def note(args: str) -> None:
        ran.append(args)

    canceled = await queue.enqueue("note", "canceled")
    await queue.cancel_job(canceled)
    wanted = await queue.enqueue("note", "wanted")
    async with running(worker, broker_url, namespace):
        await queue.wait(wanted)
    assert ran == ["wanted"]


async def test_a_graceful_stop_hands_back_what_it_does_not_finish(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    first, second = Worker(concurrency=1, grace=timedelta(0)), Worker()
    begun = asyncio.Event()

    @first.job("work")
    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    @second.job("work")
    async def work(job: Job) -> int:
        return job.attempt

    async with running(first, broker_url, namespace):
        jobs = [await queue.enqueue("work") for _ in range(3)]
        await begun.wait()
    async with running(second, broker_url, namespace):
        statuses = await queue.wait(jobs)
    assert [status.result for status in statuses] == [1, 1, 1]


async def test_a_worker_that_stops_in_order_is_listed_no_more(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker(name="leaver")

    @worker.job()
    async def last() -> None:
        worker.stop()

    async with running(worker, broker_url, namespace):
        await queue.result(await queue.enqueue("last"), timeout=PATIENCE)
    assert await queue.workers() == []


async def test_exactly_as_many_jobs_run_at_once_as_the_concurrency_allows(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    worker = Worker(concurrency=3)
    gate = asyncio.Event()
    at_once: list[int] = []
    inside = 0

    @worker.job("first")
    @worker.job("second")
    async def gated() -> None:
        nonlocal inside
        inside += 1
        at_once.append(inside)
        await gate.wait()
        inside -= 1

    jobs = [await queue.enqueue(kind) for kind in ("first", "second") * 5]
    async with running(worker, broker_url, namespace):

        async def holds_all_that_it_may() -> bool:
            return inside > 0 and len(worker._deliveries._held) == 6  # three of each type

        await until(holds_all_that_it_may)
        assert inside == 3
        gate.set()
        await queue.wait(jobs)
    assert max(at_once) == 3


async def test_a_worker_that_is_canceled_cancels_its_jobs_and_another_takes_them(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    first = Worker(url=broker_url, namespace=namespace)
    begun, ended = asyncio.Event(), asyncio.Event()
    running_in_thread, told = threading.Event(), threading.Event()

    @first.job()
    async def endless() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()
        return "never"

    @first.job()
    def stubborn(job: Job) -> str:
        running_in_thread.set()
        while not job.canceled:
            time.sleep(0.001)
        told.set()
        return "too late"

    work = asyncio.create_task(first.run())
    jobs = [await queue.enqueue(kind, max_attempts=1) for kind in ("endless", "stubborn")]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(begun.wait(), asyncio.to_thread(running_in_thread.wait, PATIENCE))
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert ended.is_set()
    assert await asyncio.to_thread(told.wait, PATIENCE)

    second = Worker()

    @second.job("endless")
    @second.job("stubborn")
    def take_over() -> str:
        return "by the second"

    async with running(second, broker_url, namespace):
        assert [await queue.result(job) for job in jobs] == ["by the second"] * 2


@pytest.mark.parametrize(
    "settings",
    [{"url": "localhost:5672"}, {"namespace": "no spaces"}, {"concurrency": 0}],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_before_anything_happens(
    settings: dict[str, Any],
) -> None:
    with pytest.raises(ConfigurationError):
        Worker(**settings)


def test_registration_refuses_what_cannot_work() -> None:
    worker = Worker()
    worker.register("a", print_it)
    with pytest.raises(ConfigurationError, match="already"):
        worker.register("a", print_it)
    with pytest.raises(ConfigurationError, match="does not match"):
        worker.register("a b", print_it)
    with pytest.raises(ConfigurationError, match="name each parameter"):
        worker.register("b", lambda *args: None)


def print_it(args: Any) -> None:
    """Do nothing; it only has a parameter."""
