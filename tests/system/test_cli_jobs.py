"""The command line against a real scheduler: jobs."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import JobError
from broker_queue.job import State
from broker_queue.running import Job
from broker_queue.worker import Worker
from tests.cli.processes import CommandLine, finish, line_of
from tests.support.waiting import until
from tests.support.workers import running


@pytest.fixture
def command_line(queue: JobQueue, broker_url: str, namespace: str, tmp_path: Path) -> CommandLine:
    return CommandLine(broker_url, namespace, tmp_path)


def make_worker() -> Worker:
    worker = Worker()

    @worker.job("add")
    async def add(args: list[int]) -> int:
        return sum(args)

    @worker.job("refuse")
    async def refuse() -> None:
        raise JobError("not today", code="closed", retry=False)

    @worker.job("sleep")
    async def sleep(job: Job) -> None:
        await job.progress(0.5, "half way")
        await asyncio.Event().wait()

    return worker


async def test_enqueue_wait_and_the_result_in_a_script(
    command_line: CommandLine, broker_url: str, namespace: str
) -> None:
    async with running(make_worker(), broker_url, namespace):
        job = (await command_line.run("enqueue", "add", "[1, 2]", "--name", "sum")).out.strip()
        found = await command_line.run("wait", job, "-q")
        assert (found.code, found.out) == (0, "3\n")
        found = await command_line.run("enqueue", "refuse", "--wait")
        assert found.code == 1
        assert "closed: not today" in found.out
        status = (await command_line.run("status", job, "--json")).json["jobs"][0]
        assert (status["state"], status["name"], status["result"]) == ("finished", "sum", 3)


async def test_dependencies_conditions_and_last(
    command_line: CommandLine, broker_url: str, namespace: str
) -> None:
    refused = (await command_line.run("enqueue", "refuse")).out.strip()
    rescue = (
        await command_line.run("enqueue", "add", "[1]", "--after-failure", "last")
    ).out.strip()
    skipped = (await command_line.run("enqueue", "add", "[1]", "--after", refused)).out.strip()
    always = (await command_line.run("enqueue", "add", "[1]", "--after-any", "last")).out.strip()
    assert "waits for 1 dependency" in (await command_line.run("explain", "last")).out
    async with running(make_worker(), broker_url, namespace):
        found = await command_line.run("wait", refused, rescue, skipped, always, "--json")
    assert found.code == 1
    assert [job["state"] for job in found.json["jobs"]] == [
        "failed",
        "finished",
        "skipped",
        "finished",
    ]
    assert "was skipped" in (await command_line.run("explain", skipped)).out


async def test_what_the_scheduler_refuses_has_codes_of_its_own(command_line: CommandLine) -> None:
    unknown = "01990000-0000-7000-8000-000000000001"
    for arguments in (
        ("status", unknown),
        ("wait", unknown),
        ("watch", unknown),
        ("cancel", unknown),
        ("retry", unknown),
        ("explain", unknown),
        ("graph", unknown),
        ("enqueue", "add", "--after", unknown),
    ):
        found = await command_line.run(*arguments)
        assert (found.code, found.out) == (3, ""), found
        assert unknown in found.err
        assert len(found.err.splitlines()) == 1
    assert (await command_line.run("enqueue", "add", "[1]", "--id", unknown)).code == 0
    assert (await command_line.run("enqueue", "add", "[1]", "--id", unknown)).code == 0
    assert (await command_line.run("enqueue", "add", "[2]", "--id", unknown)).code == 4
    assert (await command_line.run("enqueue", "no spaces")).code == 2
    assert (await command_line.run("retry", unknown)).code == 4


async def test_a_wait_that_takes_too_long_is_124_and_ctrl_c_is_130(
    command_line: CommandLine, queue: JobQueue
) -> None:
    job = (await command_line.run("enqueue", "nobody")).out.strip()
    assert (await command_line.run("wait", job, "--timeout", "200ms")).code == 124
    async with command_line.running("watch", job, "--json") as process:
        assert '"state":"queued"' in await line_of(process.stdout)
        process.send_signal(signal.SIGINT)
        found = await finish(process)
    assert (found.code, found.err) == (130, "")
    assert (await queue.job_status(job)).state is State.QUEUED


async def test_ctrl_c_while_it_waits_tells_that_the_job_goes_on(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with command_line.running("enqueue", "nobody", "--wait") as process:
        told = await line_of(process.stderr)
        process.send_signal(signal.SIGINT)
        found = await finish(process)
    (job,) = (await queue.list()).jobs
    assert told == f"Enqueued {job.id}; waiting until it has ended."
    assert (found.code, found.out) == (130, "")
    assert found.err == (f"Error: interrupted; job {job.id} goes on: broker-queue wait {job.id}\n")
    assert job.state is State.QUEUED


async def test_cancel_reaches_a_running_job(
    command_line: CommandLine, queue: JobQueue, broker_url: str, namespace: str
) -> None:
    async with running(make_worker(), broker_url, namespace):
        job = (await command_line.run("enqueue", "sleep")).out.strip()

        async def is_half_way() -> bool:
            progress = (await queue.job_status(job)).progress
            return progress is not None and progress.message == "half way"

        await until(is_half_way)
        assert "half way" in (await command_line.run("status", "last")).out
        found = await command_line.run("cancel", "last", "--reason", "too slow")
        assert found.code == 0
        assert "Canceled 1 job, 1 of them running" in found.out
        found = await command_line.run("wait", job)
        assert found.code == 1
        assert "too slow" in found.out


async def test_a_wrong_id_among_several_cancels_nothing(
    command_line: CommandLine, queue: JobQueue
) -> None:
    job = await queue.enqueue("add", [1])
    unknown = "01990000-0000-7000-8000-000000000001"
    found = await command_line.run("cancel", job, unknown)
    assert (found.code, found.err) == (3, f"Error: no job has the id {unknown}\n")
    assert (await queue.job_status(job)).state is State.QUEUED


async def test_retry_runs_only_what_failed(
    command_line: CommandLine, queue: JobQueue, broker_url: str, namespace: str
) -> None:
    failing = Worker()
    is_open = False

    @failing.job("refuse")
    async def refuse() -> str:
        if not is_open:
            raise JobError("not today", retry=False)
        return "welcome"

    async with running(failing, broker_url, namespace):
        job = (await command_line.run("enqueue", "refuse", "--wait", "--json")).json["jobs"][0]
        assert job["state"] == "failed"
        is_open = True
        copy = (await command_line.run("retry", "last", "-q")).out.strip()
        found = await command_line.run("wait", "last", "-q")
        assert (found.code, found.out) == (0, '"welcome"\n'), "last is the copy now"
        again = await command_line.run("retry", job["id"])
        assert copy in again.out
        assert "had been retried before" in again.err
        assert f"retried as {copy}" in (await command_line.run("explain", job["id"])).out
    assert copy in (await command_line.run("status", job["id"])).out


async def test_jobs_are_listed_and_found_by_the_end_of_their_ids(
    command_line: CommandLine, queue: JobQueue
) -> None:
    jobs = [await queue.enqueue("add", [i], channel="eu", name=f"n{i % 2}") for i in range(5)]
    await queue.enqueue("other")
    listed = await command_line.run("list", "--type", "add", "-q")
    assert listed.lines == jobs[::-1]
    assert (await command_line.run("list", "--name", "n1", "--channel", "eu", "-q")).lines == [
        jobs[3],
        jobs[1],
    ]
    page = await command_line.run("list", "--limit", "2", "--json")
    assert (len(page.json["jobs"]), page.json["next"] is not None) == (2, True)
    rest = await command_line.run("list", "--before", str(page.json["next"]), "-q")
    assert rest.lines == jobs[3::-1]
    assert len((await command_line.run("list", "--all", "--json")).json["jobs"]) == 6
    assert (await command_line.run("list", "--state", "finished", "--json")).json["jobs"] == []
    assert jobs[2] in (await command_line.run("status", jobs[2][-12:])).out


async def test_args_pass_through_untouched(command_line: CommandLine, queue: JobQueue) -> None:
    text = '{"number": 123456789012345678901234567890, "half": 0.50, "é": "ü"}'
    job = (await command_line.run("enqueue", "add", "-", stdin=text)).out.strip()
    assert (await queue.job_status(job, args=True)).raw_args == text.encode()
    shown = await command_line.run("status", job, "--args", "--json")
    assert text in shown.out
