"""Dequeue, finish, fail: a job at hand is nobody else's, and what is given up is free again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker_queue import (
    Canceled,
    Invalid,
    JobQueue,
    NotExist,
    NotRunning,
    RawJson,
    State,
    Unavailable,
)
from broker_queue.amqp.channel import Outgoing
from broker_queue.dequeue import Dequeuing
from broker_queue.graph import new_job_id
from broker_queue.protocol.job_headers import JobHeaders
from broker_queue.protocol.names import Names
from broker_queue.requests import Requests
from broker_queue.taking import Taking
from tests.support.job_messages import WRONG_HEADERS
from tests.support.proxy import Proxy
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, SHORT_TIMEOUT, until

AT_ONCE = 0.3
"""Seconds after which nothing comes any more."""


@pytest.fixture
async def other(queue: JobQueue, broker_url: str, namespace: str) -> AsyncIterator[JobQueue]:
    """A second client of the same scheduler."""
    async with JobQueue(broker_url, namespace=namespace, name="other") as client:
        yield client


async def until_a_dequeue_waits(queue: JobQueue) -> None:
    """Return once a dequeue has said which types it wants."""

    async def is_listed() -> bool:
        return bool(await queue.workers())

    await until(is_listed)


async def test_a_dequeued_job_comes_with_all_that_it_needs(queue: JobQueue) -> None:
    first = await queue.enqueue("fetch", name="first")
    await queue.finish_job(await queue.dequeue("fetch", timeout=PATIENCE))
    args = RawJson(b'{"big": 123456789012345678901234567890, "float": 1.0}')
    second = await queue.enqueue("fetch", args, [first], name="second", max_attempts=3, timeout=60)

    job = await queue.dequeue(["fetch"], timeout=PATIENCE)

    assert job.id == second
    assert job.type == "fetch"
    assert job.raw_args == args
    assert job.args == {"big": 123456789012345678901234567890, "float": 1.0}
    assert job.dependencies == (first,)
    assert (job.attempt, job.max_attempts, job.name, job.timeout) == (1, 3, "second", 60)
    assert (await queue.job_status(job)).state is State.RUNNING


async def test_dependencies_are_complete_however_many_there_are(queue: JobQueue) -> None:
    many = [await queue.enqueue(None) for _ in range(40)]
    await queue.enqueue("fan-in", None, many)

    job = await queue.dequeue("fan-in", timeout=PATIENCE)

    assert list(job.dependencies) == many


async def test_a_finished_job_has_the_result_byte_for_byte(queue: JobQueue) -> None:
    job = await queue.enqueue("compute")
    result = RawJson(b'{"n" : 10000000000000000000000000, "f": 2.50}')

    await queue.finish_job(await queue.dequeue("compute", timeout=PATIENCE), result)

    status = await queue.job_status(job)
    assert status.state is State.FINISHED
    assert status.raw_result == result
    assert status.started is not None
    assert status.finished is not None


async def test_a_job_can_be_finished_by_its_id(queue: JobQueue) -> None:
    job = await queue.enqueue("compute")
    assert (await queue.dequeue("compute", timeout=PATIENCE)).id == job

    await queue.finish_job(job, [1])

    assert await queue.result(job) == [1]


async def test_a_dequeue_that_waits_gets_a_job_that_comes_later(queue: JobQueue) -> None:
    waiting = asyncio.create_task(queue.dequeue("late"))
    await until_a_dequeue_waits(queue)

    job = await queue.enqueue("late")

    async with asyncio.timeout(PATIENCE):
        assert (await waiting).id == job


async def test_jobs_of_other_types_that_came_along_are_free_again(
    queue: JobQueue, other: JobQueue
) -> None:
    types = ["a", "b", "c"]
    jobs = {await queue.enqueue(name) for name in types}

    taken = [await client.dequeue(types, timeout=PATIENCE) for client in (queue, other, queue)]

    assert {job.id for job in taken} == jobs
    assert {job.attempt for job in taken} == {1}


async def test_dequeues_at_the_same_time_get_different_jobs(queue: JobQueue) -> None:
    jobs = {await queue.enqueue("many") for _ in range(5)}

    taken = await asyncio.gather(*(queue.dequeue("many", timeout=PATIENCE) for _ in range(5)))

    assert {job.id for job in taken} == jobs
    for job in taken:
        await queue.finish_job(job)


async def test_a_dequeue_takes_from_the_channels_that_it_names(queue: JobQueue) -> None:
    foreign = await queue.enqueue("report", channel="acme")
    waiting = asyncio.create_task(queue.dequeue("report", timeout=PATIENCE))
    await until_a_dequeue_waits(queue)
    mine = await queue.enqueue("report")
    assert (await waiting).id == mine

    job = await queue.dequeue("report", channels=["", "acme"], timeout=PATIENCE)

    assert (job.id, job.channel) == (foreign, "acme")


async def test_a_dequeue_that_waits_for_too_long_says_for_what(queue: JobQueue) -> None:
    with pytest.raises(TimeoutError, match="no job of type report came within"):
        await queue.dequeue("report", timeout=0.05)


async def test_a_dequeue_that_timed_out_holds_no_job_back(queue: JobQueue, other: JobQueue) -> None:
    with pytest.raises(TimeoutError):
        await queue.dequeue("build", timeout=AT_ONCE)
    job = await queue.enqueue("build")

    assert (await other.dequeue("build", timeout=PATIENCE)).id == job


class Stop:
    """Stops a dequeue for good at one of its calls, before or after it was made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cls: type, name: str, when: str) -> None:
        original = getattr(cls, name)
        self.is_reached = asyncio.Event()

        async def stop_here(*given: Any, **named: Any) -> Any:
            if when == "during":
                self.is_reached.set()  # whoever waits for it has its turn when the call waits, too
            result = await original(*given, **named)
            self.is_reached.set()
            if when == "after":
                await asyncio.Event().wait()
            return result

        monkeypatch.setattr(cls, name, stop_here)


@pytest.mark.parametrize(
    ("cls", "name", "when"),
    [
        (Dequeuing, "_greet", "after"),
        (Taking, "consume", "after"),
        (Requests, "report", "during"),
        (Requests, "report", "after"),
    ],
    ids=["hello", "consume", "started", "accepted"],
)
async def test_wherever_a_dequeue_gives_up_its_job_is_free_at_once_as_often_as_it_happens(
    broker_url: str,
    namespace: str,
    database: Path,
    cls: type,
    name: str,
    when: str,
) -> None:
    scheduler = RunningScheduler(
        url=broker_url, namespace=namespace, database=database, delivery_limit=2
    )
    async with scheduler, JobQueue(broker_url, namespace=namespace) as queue:
        job = await queue.enqueue("build")
        for _ in range(4):
            with pytest.MonkeyPatch.context() as monkeypatch:
                stop = Stop(monkeypatch, cls, name, when)
                waiting = asyncio.create_task(queue.dequeue("build"))
                async with asyncio.timeout(PATIENCE):
                    await stop.is_reached.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with JobQueue(broker_url, namespace=namespace) as other:
            taken = await other.dequeue("build", timeout=SHORT_TIMEOUT)
        assert (taken.id, taken.attempt) == (job, 1)


@pytest.mark.parametrize("milliseconds", range(2, 40, 4))
async def test_whenever_a_dequeue_gives_up_its_job_is_free(
    queue: JobQueue, other: JobQueue, milliseconds: int
) -> None:
    job = await queue.enqueue("build")
    try:
        taken = await queue.dequeue("build", timeout=milliseconds / 1000)
    except TimeoutError:
        taken = await other.dequeue("build", timeout=PATIENCE)
        await other.finish_job(taken)
    else:
        await queue.finish_job(taken)

    assert (taken.id, taken.attempt) == (job, 1)
    assert (await queue.job_status(job)).state is State.FINISHED


async def test_a_canceled_dequeue_leaves_nothing_behind(queue: JobQueue, other: JobQueue) -> None:
    waiting = asyncio.create_task(queue.dequeue("build"))
    await until_a_dequeue_waits(other)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    job = await queue.enqueue("build")

    assert (await other.dequeue("build", timeout=PATIENCE)).id == job


async def test_a_job_canceled_in_the_queue_is_never_dequeued(queue: JobQueue) -> None:
    canceled = await queue.enqueue("build")
    await queue.cancel_job(canceled)
    following = await queue.enqueue("build")

    assert (await queue.dequeue("build", timeout=PATIENCE)).id == following
    with pytest.raises(Canceled):
        await queue.finish_job(canceled)


async def test_the_result_of_a_canceled_job_is_discarded(queue: JobQueue) -> None:
    await queue.enqueue("build")
    job = await queue.dequeue("build", timeout=PATIENCE)
    await queue.cancel_job(job, reason="not wanted")

    with pytest.raises(Canceled, match="discarded"):
        await queue.finish_job(job, 1)

    status = await queue.job_status(job)
    assert status.canceled
    assert status.raw_result is None


async def test_a_job_is_finished_once(queue: JobQueue) -> None:
    await queue.enqueue("build")
    job = await queue.dequeue("build", timeout=PATIENCE)
    await queue.finish_job(job, 1)

    with pytest.raises(NotRunning):
        await queue.finish_job(job, 2)
    with pytest.raises(NotRunning, match="is finished already"):
        await queue.fail_job(job.id, "too late")

    assert await queue.result(job) == 1


async def test_a_job_that_was_not_dequeued_here_cannot_be_finished(
    queue: JobQueue, other: JobQueue
) -> None:
    with pytest.raises(NotExist):
        await queue.finish_job(new_job_id())
    job = await queue.enqueue("build")
    with pytest.raises(NotRunning, match="is queued; only the client that dequeued it"):
        await queue.finish_job(job)
    await other.dequeue("build", timeout=PATIENCE)
    with pytest.raises(NotRunning, match="is running, on worker other-"):
        await queue.finish_job(job)


async def test_a_result_that_is_no_json_leaves_the_job_at_hand(queue: JobQueue) -> None:
    await queue.enqueue("build")
    job = await queue.dequeue("build", timeout=PATIENCE)
    with pytest.raises(Invalid, match="result does not serialise"):
        await queue.finish_job(job, object())

    await queue.finish_job(job, "better")

    assert await queue.result(job) == "better"


async def test_a_result_over_the_limit_fails_the_job_and_says_so(queue: JobQueue) -> None:
    await queue.enqueue("build")
    job = await queue.dequeue("build", timeout=PATIENCE)

    with pytest.raises(Invalid, match="the limit is"):
        await queue.finish_job(job, "x" * (1 << 20))

    assert (await queue.job_status(job)).state is State.FAILED


async def test_a_failed_attempt_is_followed_by_the_next(queue: JobQueue) -> None:
    await queue.enqueue("flaky", max_attempts=3)
    await queue.fail_job(await queue.dequeue("flaky", timeout=PATIENCE), "no luck")
    job = await queue.dequeue("flaky", timeout=PATIENCE)
    assert job.attempt == 2

    await queue.fail_job(job, "no sense in trying", code="hopeless", retry=False)

    status = await queue.job_status(job)
    assert status.state is State.FAILED
    assert status.error is not None
    assert (status.error.code, status.error.message) == ("hopeless", "no sense in trying")


async def test_a_client_that_closes_hands_back_what_it_holds(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    job = await queue.enqueue("build")
    async with JobQueue(broker_url, namespace=namespace, name="closing") as closing:
        await closing.dequeue("build", timeout=PATIENCE)

    taken = await queue.dequeue("build", timeout=PATIENCE)

    assert (taken.id, taken.attempt) == (job, 1)
    assert not any(worker.worker.startswith("closing") for worker in await queue.workers())


async def test_a_client_that_closes_ends_its_dequeues(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as closing:
        waiting = asyncio.create_task(closing.dequeue("build"))
        await until_a_dequeue_waits(queue)
    with pytest.raises(Unavailable):
        await waiting
    job = await queue.enqueue("build")

    assert (await queue.dequeue("build", timeout=PATIENCE)).id == job


async def test_a_job_whose_client_was_cut_off_goes_to_another(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    job = await queue.enqueue("build")
    async with (
        Proxy(broker_url) as proxy,
        JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as cut,
    ):
        await cut.dequeue("build", timeout=PATIENCE)
        proxy.cut()

        assert (await queue.dequeue("build", timeout=PATIENCE)).id == job


async def test_a_client_that_was_cut_off_can_still_finish_its_job(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    await queue.enqueue("build")
    async with (
        Proxy(broker_url) as proxy,
        JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as cut,
    ):
        job = await cut.dequeue("build", timeout=PATIENCE)
        proxy.cut()
        await cut.finish_job(job, "done")

    assert await queue.result(job) == "done"
    with pytest.raises(TimeoutError):
        await queue.dequeue("build", timeout=AT_ONCE)


async def test_a_dequeue_goes_on_after_a_lost_connection(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    async with (
        Proxy(broker_url) as proxy,
        JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as cut,
    ):
        waiting = asyncio.create_task(cut.dequeue("build"))
        await until_a_dequeue_waits(queue)
        proxy.cut()
        job = await queue.enqueue("build")

        async with asyncio.timeout(PATIENCE):
            assert (await waiting).id == job


async def test_a_message_that_is_no_job_stops_nobody(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    await queue.enqueue("build")
    await queue.finish_job(await queue.dequeue("build", timeout=PATIENCE))  # now there is a queue
    channel = await (await queue._requests.session(PATIENCE)).open_channel()
    nothing = Outgoing(exchange=Names(namespace).jobs, routing_key="build", body=b"not a job")
    whole = JobHeaders(protocol=1, attempt=1, max_attempts=1, dependency_count=0).to_table()
    forged = replace(
        nothing, type="build", message_id=new_job_id(), correlation_id="y", headers=whole
    )
    messages = [
        nothing,
        replace(forged, message_id="x"),
        forged,
        replace(forged, headers=whole | {"dependency_count": 99}),
        *(replace(forged, headers=whole | wrong) for wrong in WRONG_HEADERS),
    ]
    for message in messages:
        await channel.publish(message)
    job = await queue.enqueue("build")

    async with JobQueue(broker_url, namespace=namespace, timeout=SHORT_TIMEOUT) as client:
        assert (await client.dequeue("build", timeout=PATIENCE)).id == job


@pytest.mark.parametrize("types", [[], ["no spaces allowed"]])
async def test_a_dequeue_of_no_type_is_refused(queue: JobQueue, types: list[str]) -> None:
    with pytest.raises(Invalid):
        await queue.dequeue(types)
