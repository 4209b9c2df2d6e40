"""The example in Java."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.languages import toolchains
from tests.languages.duties import LEVEL_3, Duty, Stage
from tests.languages.worker_process import WorkerProcess
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import PATIENCE

WORKER = toolchains.java_worker
JOB_TYPE = "rehearsal.java"

FAILURES = Path(__file__).with_name("java_failures") / "Failures.java"


@pytest.mark.parametrize("duty", LEVEL_3, ids=lambda duty: duty.__name__)
async def test_the_worker_keeps_the_protocol(duty: Duty, stage: Stage) -> None:
    await duty(stage)


async def test_letters(stage: Stage) -> None:
    args = {"text": "Zürich über Ürzig; 東京. 𠀀"}
    async with stage.worker():
        job = await stage.queue.enqueue("text.letters", args)
        assert await stage.queue.result(job, timeout=PATIENCE) == {"letters": 18, "most": "r"}
        job = await stage.queue.enqueue("text.letters", {})
        error = (await stage.ended(job)).error
    assert error is not None
    assert error.code == "invalid_args"
    assert error.message.endswith("text is missing")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (None, "the args are null"),
        ({"text": 5}, "text is no String"),
        ([1], "this is no Text"),
    ],
    ids=str,
)
async def test_args_of_another_form_fail_at_once(stage: Stage, args: Any, message: str) -> None:
    async with stage.worker():
        job = await stage.queue.enqueue("text.letters", args, max_attempts=3)
        status = await stage.ended(job)
    assert status.error is not None
    assert status.error.code == "invalid_args"
    assert status.error.message == message
    assert status.attempt == 1


@pytest.fixture
def odd(stage: Stage, tmp_path: Path) -> Stage:
    """The stage with a worker whose handlers end in unusual ways."""
    *java, class_path, _ = stage.command
    classes = ["-cp", class_path, "-d", str(tmp_path)]
    subprocess.run(["javac", *classes, str(FAILURES)], check=True, timeout=2 * PATIENCE)
    return replace(stage, command=[*java, f"{tmp_path}:{class_path}", "worker.Failures"])


@pytest.mark.parametrize(
    ("job_type", "code", "message", "said"),
    [
        ("failure.without-code", "failed", "why", ""),
        ("failure.mute", "Mute", "", "failed:"),
        ("failure.broken", "IllegalStateException", "broken", "at worker.Failures."),
    ],
)
async def test_whatever_a_handler_throws_ends_its_job(
    odd: Stage, job_type: str, code: str, message: str, said: str
) -> None:
    async with odd.worker() as worker:
        job = await odd.queue.enqueue(job_type, max_attempts=1)
        error = (await odd.ended(job)).error
        await worker.says(said)
    assert error is not None
    assert (error.code, error.message) == (code, message)
    assert (f"{job_type} {job} failed:" in worker.log) == bool(said)


async def test_a_result_at_the_interrupt_of_the_stop_is_kept(odd: Stage) -> None:
    async with odd.worker() as worker:
        job = await odd.queue.enqueue("failure.cut-short")
        await odd.runs(job)
        worker.terminate()
        assert await worker.ended() == 0
        assert (await odd.ended(job)).result == "cut short"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://localhost:1", "does not begin with amqp:// or amqps://"),
        ("localhost:5672", "does not begin with amqp:// or amqps://"),
        ("amqp://guest:secret@localhost:99999", "has a port that is not from 1 to 65535"),
        ("amqp://guest:secret#ss@localhost", "names no host that can be read"),
        ("amqp://guest:secret:ss@localhost", "cannot be read"),
    ],
)
async def test_a_wrong_url_ends_it_at_once(url: str, problem: str) -> None:
    async with WorkerProcess(WORKER(), url, "none") as worker:
        assert await worker.ended() == 2
    [line] = worker.log.splitlines()
    assert line.startswith(f"BROKER_QUEUE_URL {problem}: write amqp://user:password@host:5672, ")
    assert "secret" not in line


@pytest.mark.parametrize("concurrency", ["x", "0", "65536"])
async def test_a_wrong_concurrency_ends_it_at_once(concurrency: str) -> None:
    url = "amqp://localhost"
    async with WorkerProcess(WORKER(), url, "none", CONCURRENCY=concurrency) as worker:
        assert await worker.ended() == 2
    assert worker.log == f"CONCURRENCY is {concurrency}: write a whole number from 1 to 65535\n"


async def test_it_warns_once_that_nobody_answers_hello(
    scheduler: RunningScheduler, stage: Stage
) -> None:
    await scheduler.stop()
    async with stage.worker() as worker:
        warning = f"is a scheduler running in namespace {stage.namespace}?"
        await worker.says(f"no answer to hello in 10 s: {warning}\n")
        await stage.raw.until_ready(stage.raw.names.requests, 4)  # one hello more
    assert worker.log.count(warning) == 1


async def test_it_says_where_it_takes_jobs_from_and_that_it_has_stopped(stage: Stage) -> None:
    async with stage.worker() as worker:
        await worker.says("takes jobs from")
        worker.terminate()
        assert await worker.ended() == 0
        await worker.says("stopped")
    first, last = worker.log.splitlines()
    assert first.startswith(f"takes jobs from {stage.namespace}.jobs.rehearsal.java, ")
    assert "guest:" not in first
    assert last == "stopped"
