"""Workers as processes: signals, the grace time, how many jobs run at once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from broker_queue.client import JobQueue
from broker_queue.job import JobId, State
from tests.cli.processes import CommandLine, finish
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE, until

JOBS = """
import asyncio
from datetime import timedelta
from pathlib import Path

from broker_queue.running import Job
from broker_queue.worker import Worker

worker = Worker(concurrency=1, grace=timedelta(seconds=GRACE))

@worker.job("gated")
@worker.job("other")
async def gated(job: Job):
    Path(f"begun-{job.id}").touch()
    while not Path("gate").exists():
        await asyncio.sleep(0.005)
    return job.attempt
"""


@pytest.fixture
def command_line(broker_url: str, namespace: str, tmp_path: Path) -> CommandLine:
    (tmp_path / "jobs.py").write_text(JOBS.replace("GRACE", "30"))
    return CommandLine(broker_url, namespace, tmp_path)


def begun(command_line: CommandLine) -> set[str]:
    return {found.name.removeprefix("begun-") for found in command_line.folder.glob("begun-*")}


async def until_begun(command_line: CommandLine, jobs: set[JobId]) -> None:
    async def all_begun() -> bool:
        return begun(command_line) == jobs

    await until(all_begun)


async def until_nobody_takes(raw: RawClient, job_type: str) -> None:
    await raw.until_consumed(raw.names.job_queue(job_type), 0)


async def handovers(raw: RawClient, *job_types: str) -> dict[str, int]:
    """Take a job of each of these types and return the numbers of their hand-overs."""
    taken = [await raw.take(job_type) for job_type in job_types]
    return {
        delivery.message_id or "": int((delivery.correlation_id or "").split(".")[1])
        for delivery in taken
    }


async def test_sigterm_lets_running_jobs_finish_and_hands_back_the_others(
    command_line: CommandLine, queue: JobQueue, raw: RawClient
) -> None:
    async with command_line.running("worker", "jobs:worker") as process:
        running = await queue.enqueue("gated")
        await until_begun(command_line, {running})
        held = await queue.enqueue("other")
        in_queue = await queue.enqueue("gated")
        await raw.until_ready(raw.names.job_queue("other"), 0)  # the worker holds it
        process.send_signal(signal.SIGTERM)
        await until_nobody_takes(raw, "other")  # of gated one is still held
        late = await queue.enqueue("other")
        (command_line.folder / "gate").touch()
        found = await finish(process)
    assert found.code == 0, found.err
    assert await queue.result(running, timeout=PATIENCE) == 1
    for status in await queue.job_statuses([held, in_queue, late]):
        assert (status.state, status.attempt) == (State.QUEUED, 1)
    assert begun(command_line) == {running}
    assert await handovers(raw, "other", "other", "gated") == {held: 2, in_queue: 1, late: 1}


async def test_sigterm_hands_back_what_runs_longer_than_the_grace_time(
    command_line: CommandLine, queue: JobQueue, raw: RawClient
) -> None:
    (command_line.folder / "jobs.py").write_text(JOBS.replace("GRACE", "0.5"))
    async with command_line.running("worker", "jobs:worker") as process:
        job = await queue.enqueue("gated", max_attempts=1)
        await until_begun(command_line, {job})
        process.send_signal(signal.SIGTERM)
        found = await finish(process)
    assert found.code == 0, found.err
    status = await queue.job_status(job)
    assert (status.state, status.attempt) == (State.QUEUED, 1)
    assert await handovers(raw, "gated") == {job: 2}


@pytest.mark.parametrize(("option", "at_once"), [((), 1), (("--concurrency", "3"), 3)])
async def test_as_many_jobs_run_at_once_as_the_command_line_says(
    command_line: CommandLine,
    queue: JobQueue,
    raw: RawClient,
    option: tuple[str, ...],
    at_once: int,
) -> None:
    jobs = [await queue.enqueue(kind) for kind in ("gated", "other") * 5]
    async with command_line.running("worker", "jobs:worker", *option):

        async def as_many_taken() -> bool:
            left = [await raw.count(raw.names.job_queue(kind, "")) for kind in ("gated", "other")]
            return left == [5 - at_once] * 2 and len(begun(command_line)) >= at_once

        await until(as_many_taken)
        assert len(begun(command_line)) == at_once
        (command_line.folder / "gate").touch()
        await queue.wait(jobs, timeout=PATIENCE)
