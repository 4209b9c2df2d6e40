"""What every example worker of level 2 must do, whatever it is written in.

A language's test module derives a class `Test…` from `WorkerSuite` and names its command.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from broker_queue.client import JobQueue
from broker_queue.job import JobId, State
from tests.support.proxy import Proxy
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE, until

TEXT = "Ein Wort. Zwei Wörter!\nUnd eine viel längere dritte Zeile, ohne Ende: 東京"

LONG = 600
"""Seconds of a rehearsal that is stopped before they are over."""


@asynccontextmanager
async def running(
    command: list[str], url: str, namespace: str, concurrency: int = 2
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a worker for the length of the block, then end it with SIGTERM; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ
        | {
            "BROKER_QUEUE_URL": url,
            "BROKER_QUEUE_NAMESPACE": namespace,
            "CONCURRENCY": str(concurrency),
        },
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
        await stopped(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def stopped(process: asyncio.subprocess.Process) -> None:
    """Send SIGTERM, unless it has ended, and wait until it has ended with 0."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 0


async def until_state(queue: JobQueue, job: JobId, state: State) -> None:
    """Return once a job is in this state."""

    async def is_there() -> bool:
        return (await queue.job_status(job)).state is state

    await until(is_there)


class WorkerSuite:
    """Tests of one worker.

    Attributes:
        rehearsal: the type of its rehearsal job.
        real: its other type, with args and the result they give.
    """

    rehearsal: str
    real: tuple[str, Mapping[str, Any], Mapping[str, Any]]

    def command(self) -> list[str]:
        """Return what starts it."""
        raise NotImplementedError

    async def test_a_result_is_what_the_handler_returned(
        self, queue: JobQueue, broker_url: str, namespace: str
    ) -> None:
        job_type, args, result = self.real
        async with running(self.command(), broker_url, namespace):
            job = await queue.enqueue(job_type, args)
            assert await queue.result(job, timeout=PATIENCE) == result

    async def test_args_come_back_as_they_are(
        self, queue: JobQueue, broker_url: str, namespace: str
    ) -> None:
        args = {"number": 2**70, "text": TEXT, "nested": [None, {"": [True, 1.5]}]}
        async with running(self.command(), broker_url, namespace):
            job = await queue.enqueue(self.rehearsal, args)
            assert await queue.result(job, timeout=PATIENCE) == args

    async def test_args_of_a_megabyte_come_back(
        self, queue: JobQueue, broker_url: str, namespace: str
    ) -> None:
        args = {"text": TEXT * 10_000}
        async with running(self.command(), broker_url, namespace):
            job = await queue.enqueue(self.rehearsal, args)
            assert await queue.result(job, timeout=PATIENCE) == args

    async def test_a_failure_has_its_message(
        self, queue: JobQueue, broker_url: str, namespace: str
    ) -> None:
        async with running(self.command(), broker_url, namespace):
            job = await queue.enqueue(self.rehearsal, {"fail": TEXT})
            status = await queue.wait(job, timeout=PATIENCE)
        assert status.state is State.FAILED
        assert status.error is not None
        assert status.error.message == TEXT

    async def test_args_that_do_not_fit_fail_for_good(
        self, queue: JobQueue, broker_url: str, namespace: str
    ) -> None:
        async with running(self.command(), broker_url, namespace):
            for args in [["no", "object"], None, {"seconds": "many"}]:
                job = await queue.enqueue(self.rehearsal, args, max_attempts=5)
                status = await queue.wait(job, timeout=PATIENCE)
                assert status.error is not None
                assert (status.error.code, status.attempt) == ("invalid_args", 1)
            wrong = await queue.enqueue(self.real[0], {}, max_attempts=5)
            status = await queue.wait(wrong, timeout=PATIENCE)
            assert status.error is not None
            assert (status.error.code, status.attempt) == ("invalid_args", 1)

    async def test_a_job_that_runs_is_shown_running_and_stops_when_canceled(
        self, queue: JobQueue, broker_url: str, namespace: str
    ) -> None:
        async with running(self.command(), broker_url, namespace, concurrency=1):
            job = await queue.enqueue(self.rehearsal, {"seconds": LONG})
            await until_state(queue, job, State.RUNNING)
            await queue.cancel_job(job)
            after = await queue.enqueue(self.rehearsal, {"after": True})
            assert await queue.result(after, timeout=PATIENCE) == {"after": True}

    async def test_a_job_that_waits_in_the_worker_never_starts_when_canceled(
        self, queue: JobQueue, raw: RawClient, broker_url: str, namespace: str
    ) -> None:
        async with running(self.command(), broker_url, namespace, concurrency=1):
            first = await queue.enqueue(self.rehearsal, {"seconds": LONG})
            await until_state(queue, first, State.RUNNING)
            second = await queue.enqueue(self.rehearsal, {"seconds": LONG})
            await queue.cancel_job(second)
            await queue.cancel_job(first)
            after = await queue.enqueue(self.rehearsal)
            await queue.wait(after, timeout=PATIENCE)
            assert (await queue.job_status(second)).started is None
            assert await raw.count(raw.names.job_queue(self.rehearsal)) == 0

    async def test_control_messages_it_does_not_know_are_ignored(
        self, queue: JobQueue, raw: RawClient, broker_url: str, namespace: str
    ) -> None:
        async with running(self.command(), broker_url, namespace):
            first = await queue.enqueue(self.rehearsal, {"seconds": 0.5})
            await until_state(queue, first, State.RUNNING)
            for kind, body in [("news", b"{}"), (None, b"\x00"), ("cancel", b'{"tokens": ["x"]}')]:
                await raw.publish(raw.names.control, self.rehearsal, body, type=kind)
            second = await queue.enqueue(self.rehearsal, {"seconds": 0.1})
            for job in first, second:
                assert (await queue.wait(job, timeout=PATIENCE)).state is State.FINISHED

    async def test_a_message_of_a_newer_protocol_is_rejected(
        self, queue: JobQueue, raw: RawClient, broker_url: str, namespace: str
    ) -> None:
        job = await queue.enqueue(self.rehearsal, {})
        delivery = await raw.take(self.rehearsal)
        await raw.publish(
            raw.names.jobs,
            self.rehearsal,
            delivery.body,
            type=self.rehearsal,
            correlation_id=delivery.correlation_id,
            message_id=job,
            headers={"protocol": 1000, "unknown": {"nested": [1, "two", None]}},
        )
        await delivery.acknowledge()
        async with running(self.command(), broker_url, namespace):
            status = await queue.wait(job, timeout=PATIENCE)
        assert status.error is not None
        assert status.error.code == "dead_letter"

    async def test_sigterm_lets_it_finish_what_runs_and_give_back_the_rest(
        self, queue: JobQueue, broker_url: str, namespace: str
    ) -> None:
        async with running(self.command(), broker_url, namespace, concurrency=1) as process:
            runs = await queue.enqueue(self.rehearsal, {"seconds": 1.5})
            await until_state(queue, runs, State.RUNNING)
            waits = await queue.enqueue(self.rehearsal, {"seconds": 0})
            await stopped(process)
        assert (await queue.wait(runs, timeout=PATIENCE)).state is State.FINISHED
        assert (await queue.job_status(waits)).started is None
        async with running(self.command(), broker_url, namespace):
            status = await queue.wait(waits, timeout=PATIENCE)
        assert (status.state, status.attempt) == (State.FINISHED, 1)

    async def test_a_cut_connection_costs_no_job(
        self, queue: JobQueue, broker_url: str, namespace: str
    ) -> None:
        async with (
            Proxy(broker_url) as proxy,
            running(self.command(), proxy.url, namespace, concurrency=1),
        ):
            runs = await queue.enqueue(self.rehearsal, {"seconds": 0.5, "run": 1})
            await until_state(queue, runs, State.RUNNING)
            proxy.cut()
            waits = await queue.enqueue(self.rehearsal, {"run": 2})
            for job in runs, waits:
                assert (await queue.wait(job, timeout=PATIENCE)).state is State.FINISHED
