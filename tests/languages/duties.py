"""What a worker owes the protocol, told once for the examples of all languages.

Each duty is an async function of a `Stage`; LEVEL_2 and LEVEL_3 say which level owes what.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from broker_queue.client import JobQueue
from broker_queue.job import JobId, State
from broker_queue.status import JobStatus
from tests.languages.worker_process import WorkerProcess
from tests.support.cleaning import delete_namespace
from tests.support.leases import until_leased
from tests.support.proxy import Proxy
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, TIMEOUT_FACTOR, until

LEASE_AFTER = 1.0 * TIMEOUT_FACTOR
LEASE = 1.0 * TIMEOUT_FACTOR

A_WHILE = 0.5 * TIMEOUT_FACTOR
"""Seconds of a job that is still running when the test has seen it run; less than LEASE_AFTER."""

FOREVER = 3600


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A scheduler that grants leases early, its clients, and the command of the worker under test."""

    command: Sequence[str]
    job_type: str
    url: str
    namespace: str
    database: Path
    queue: JobQueue
    raw: RawClient

    def worker(self, url: str | None = None, concurrency: int = 1) -> WorkerProcess:
        return WorkerProcess(
            self.command, url or self.url, self.namespace, CONCURRENCY=str(concurrency)
        )

    async def enqueue(self, args: Any = None, **options: Any) -> JobId:
        return await self.queue.enqueue(self.job_type, {} if args is None else args, **options)

    async def ended(self, job: JobId) -> JobStatus:
        return await self.queue.wait(job, timeout=PATIENCE)

    async def runs(self, job: JobId) -> None:
        """Return once the job runs."""

        async def is_running() -> bool:
            return (await self.queue.job_status(job)).state is State.RUNNING

        await until(is_running)

    async def leased(self, job: JobId, after: int = 0) -> int:
        """Return until when the job is leased, once that is later than `after`."""
        return await until_leased(self.database, job, after)

    async def waits_with_the_broker(self) -> None:
        """Return once a message is ready in the queue of the jobs."""
        await self.raw.until_ready(self.raw.names.job_queue(self.job_type), 1)

    async def works(self) -> None:
        """Check that the worker has a slot for another job."""
        assert (await self.ended(await self.enqueue())).state is State.FINISHED


Duty: TypeAlias = Callable[[Stage], Awaitable[None]]


def scheduler_with_leases(
    url: str, namespace: str, database: Path, **settings: Any
) -> RunningScheduler:
    known = {"lease_after": LEASE_AFTER, "lease_duration": LEASE, "hello_interval": LEASE}
    return RunningScheduler(url=url, namespace=namespace, database=database, **known | settings)


async def args_come_back_as_they_were(stage: Stage) -> None:
    args = {"n": 9007199254740993, "text": "größer\u2028", "list": [1.5, None, True, {}]}
    async with stage.worker():
        status = await stage.ended(await stage.enqueue(args))
    assert status.state is State.FINISHED
    assert status.raw_result is not None
    assert json.loads(status.raw_result) == args


async def a_failure_says_why(stage: Stage) -> None:
    async with stage.worker():
        status = await stage.ended(await stage.enqueue({"fail": "on purpose"}))
        assert status.state is State.FAILED
        assert status.error is not None
        assert status.error.message == "on purpose"
        await stage.works()


async def wrong_args_fail_for_good(stage: Stage) -> None:
    async with stage.worker():
        status = await stage.ended(await stage.enqueue([1], max_attempts=3))
        assert status.state is State.FAILED
        assert status.error is not None
        assert status.error.code == "invalid_args"
        assert status.attempt == 1
        await stage.works()


async def a_running_job_that_is_canceled_stops(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.enqueue({"seconds": FOREVER})
        await stage.runs(job)
        await stage.queue.cancel_job(job)
        await stage.works()


async def sigterm_lets_the_running_job_finish_and_hands_back_the_next(stage: Stage) -> None:
    async with stage.worker() as worker:
        running = await stage.enqueue({"seconds": 4 * A_WHILE})  # so that SIGTERM meets it
        await stage.runs(running)
        waiting = await stage.enqueue()
        worker.terminate()
        assert await worker.ended() == 0
    assert (await stage.queue.job_status(running)).state is State.FINISHED
    await stage.waits_with_the_broker()
    async with stage.worker():
        status = await stage.ended(waiting)
    assert status.state is State.FINISHED
    assert status.attempt == 1


async def it_says_what_it_takes_from_where_and_when_it_has_stopped(stage: Stage) -> None:
    async with stage.worker() as worker:
        await worker.says(stage.raw.names.job_queue(stage.job_type))
        await stage.works()
        worker.terminate()
        assert await worker.ended() == 0
    where = stage.url.rpartition("@")[2]
    assert [f"{where}\n" in worker.log, "stopped\n" in worker.log] == [True, True]
    assert ":guest@" not in worker.log


async def a_cut_connection_is_made_anew(stage: Stage) -> None:
    async with Proxy(stage.url) as proxy, stage.worker(proxy.url):
        job = await stage.enqueue({"seconds": A_WHILE})
        await stage.runs(job)
        proxy.cut()
        status = await stage.ended(job)
        assert status.state is State.FINISHED
        assert status.attempt == 1
        await stage.works()


async def connections_that_break_again_and_again_lose_no_job(stage: Stage) -> None:
    async with Proxy(stage.url) as proxy, stage.worker(proxy.url, concurrency=3):
        jobs = [await stage.enqueue({"seconds": i % 4 * 0.1, "i": i}) for i in range(16)]
        for last in (3, 7, 11):
            await stage.ended(jobs[last])
            proxy.cut()
        statuses = await stage.queue.wait(jobs, timeout=2 * PATIENCE)
        assert {status.state for status in statuses} == {State.FINISHED}
        assert {status.attempt for status in statuses} == {1}


async def it_waits_for_a_scheduler_that_comes_later(stage: Stage) -> None:
    namespace, database = f"{stage.namespace}-later", stage.database.with_name("later.sqlite3")
    async with (
        WorkerProcess(stage.command, stage.url, namespace),
        scheduler_with_leases(stage.url, namespace, database),
        JobQueue(stage.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        job = await queue.enqueue(stage.job_type, {})
        assert await queue.result(job, timeout=PATIENCE) == {}
    await delete_namespace(stage.url, namespace, database)


async def a_job_of_a_later_protocol_is_rejected(stage: Stage) -> None:
    async with stage.worker():
        await stage.works()
        headers = {"protocol": 2, "attempt": 1, "max_attempts": 1, "dependency_count": 0}
        names = stage.raw.names
        for token in ("later", None):
            await stage.raw.publish(
                names.jobs, stage.job_type, b"{}", correlation_id=token, headers=headers
            )
        await stage.works()
        await stage.raw.until_ready(names.job_queue(stage.job_type), 0)


async def a_job_of_a_later_protocol_fails_for_its_sender(stage: Stage) -> None:
    job = await stage.enqueue()
    delivery = await stage.raw.take(stage.job_type)
    await stage.raw.publish(
        stage.raw.names.jobs,
        stage.job_type,
        delivery.body,
        type=stage.job_type,
        correlation_id=delivery.correlation_id,
        message_id=job,
        headers={"protocol": 1000, "unknown": {"nested": [1, "two", None]}},
    )
    await delivery.acknowledge()
    async with stage.worker():
        error = (await stage.ended(job)).error
    assert error is not None
    assert error.code == "dead_letter"


async def a_job_that_waits_in_the_worker_never_starts_when_canceled(stage: Stage) -> None:
    async with stage.worker():
        first = await stage.enqueue({"seconds": FOREVER})
        await stage.runs(first)
        second = await stage.enqueue({"seconds": FOREVER})
        for job in second, first:
            await stage.queue.cancel_job(job)
        await stage.works()
        assert (await stage.queue.job_status(second)).started is None


async def control_messages_it_does_not_know_are_ignored(stage: Stage) -> None:
    control = stage.raw.names.control
    async with stage.worker():
        job = await stage.enqueue({"seconds": A_WHILE})
        await stage.runs(job)
        for kind, body in [("news", b"{}"), (None, b"\x00"), ("cancel", b'{"tokens": ["x"]}')]:
            await stage.raw.publish(control, stage.job_type, body, type=kind)
        assert (await stage.ended(job)).state is State.FINISHED
        await stage.works()


async def a_second_copy_costs_no_slot(stage: Stage) -> None:
    job = await stage.enqueue({"seconds": A_WHILE})
    delivery = await stage.raw.take(stage.job_type)
    headers = {"protocol": 1, "attempt": 1, "max_attempts": 1, "dependency_count": 0}
    for republished in {}, {"republished": True}:
        await stage.raw.publish(
            stage.raw.names.jobs,
            stage.job_type,
            delivery.body,
            type=stage.job_type,
            correlation_id=delivery.correlation_id,
            reply_to=stage.raw.names.reports,
            message_id=job,
            headers=headers | republished,
        )
    await delivery.acknowledge()
    async with stage.worker(concurrency=2):
        assert (await stage.ended(job)).state is State.FINISHED
        for long in [await stage.enqueue({"seconds": FOREVER}) for _ in range(2)]:
            await stage.runs(long)


async def args_of_a_megabyte_come_back(stage: Stage) -> None:
    args = {"text": "東京, größer. " * 50_000}
    async with stage.worker():
        job = await stage.enqueue(args)
        assert await stage.queue.result(job, timeout=PATIENCE) == args


async def a_second_delivery_of_a_canceled_job_never_starts(stage: Stage) -> None:
    job = await stage.enqueue({"seconds": FOREVER})
    async with RawClient(stage.url, stage.namespace) as dying:
        delivery = await dying.take(stage.job_type)
        await dying.report("started", delivery.correlation_id, {"worker": "dying"})
        await stage.queue.cancel_job(job)
    async with stage.worker():
        await stage.works()
        await stage.works()


async def a_second_delivery_that_nobody_ended_runs(stage: Stage) -> None:
    job = await stage.enqueue()
    async with RawClient(stage.url, stage.namespace) as dying:
        await dying.take(stage.job_type)
    async with stage.worker():
        assert (await stage.ended(job)).state is State.FINISHED


async def a_lease_outlives_the_connection(stage: Stage) -> None:
    async with Proxy(stage.url) as proxy, stage.worker(proxy.url):
        job = await stage.enqueue({"seconds": LEASE_AFTER + 4 * LEASE})
        first = await stage.leased(job)
        await stage.leased(job, after=first)
        proxy.cut()
        status = await stage.ended(job)
        assert status.state is State.FINISHED
        assert status.attempt == 1
        assert await stage.raw.count(stage.raw.names.job_queue(stage.job_type)) == 0
        await stage.works()


async def a_job_with_a_lease_that_is_canceled_stops(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.enqueue({"seconds": FOREVER})
        await stage.leased(job)
        await stage.queue.cancel_job(job)
        await stage.works()


async def what_finds_no_slot_goes_to_another_worker(stage: Stage) -> None:
    async with stage.worker() as full:
        long = await stage.enqueue({"seconds": FOREVER})
        await stage.leased(long)  # so its message does not count any more
        waiting = await stage.enqueue()
        async with stage.worker():
            assert (await stage.ended(waiting)).state is State.FINISHED
        await stage.queue.cancel_job(long)
        await stage.works()
        assert "Traceback" not in full.log


async def hello_lists_it_until_it_stops(stage: Stage) -> None:
    async with stage.worker(concurrency=3) as worker:
        await stage.works()
        [listed] = await stage.queue.workers()
        assert listed.concurrency == 3
        assert listed.leases
        assert stage.job_type in listed.types
        worker.terminate()
        assert await worker.ended() == 0

    async def is_gone() -> bool:
        return not await stage.queue.workers()

    await until(is_gone)


LEVEL_2: list[Duty] = [
    args_come_back_as_they_were,
    a_failure_says_why,
    wrong_args_fail_for_good,
    a_running_job_that_is_canceled_stops,
    sigterm_lets_the_running_job_finish_and_hands_back_the_next,
    it_says_what_it_takes_from_where_and_when_it_has_stopped,
    a_cut_connection_is_made_anew,
    connections_that_break_again_and_again_lose_no_job,
    it_waits_for_a_scheduler_that_comes_later,
    a_job_of_a_later_protocol_is_rejected,
    a_job_of_a_later_protocol_fails_for_its_sender,
    a_job_that_waits_in_the_worker_never_starts_when_canceled,
    control_messages_it_does_not_know_are_ignored,
    a_second_copy_costs_no_slot,
    args_of_a_megabyte_come_back,
]

LEVEL_3: list[Duty] = [
    *LEVEL_2,
    a_second_delivery_of_a_canceled_job_never_starts,
    a_second_delivery_that_nobody_ended_runs,
    a_lease_outlives_the_connection,
    a_job_with_a_lease_that_is_canceled_stops,
    what_finds_no_slot_goes_to_another_worker,
    hello_lists_it_until_it_stops,
]
