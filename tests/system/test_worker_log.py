"""What a worker logs of jobs that fail."""

from __future__ import annotations

import logging

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import JobError
from broker_queue.worker import Worker
from tests.support.workers import running


def divide(number: int) -> float:
    return number / 0


async def test_a_failure_is_logged_with_the_line_of_the_jobs_own_code(
    queue: JobQueue, broker_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker()

    @worker.job()
    async def build() -> None:
        divide(7)

    @worker.job()
    async def refuse() -> None:
        raise JobError("not today", code="closed", details={"until": "monday"})

    with caplog.at_level(logging.WARNING, "broker_queue.execution"):
        async with running(worker, broker_url, namespace):
            failed = await queue.enqueue("build")
            refused = await queue.enqueue("refuse")
            await queue.wait([failed, refused])
    by_id = {text.split()[1]: text.splitlines() for text in caplog.messages}
    assert by_id[refused] == [f"refuse {refused} failed at attempt 1 of 1: closed: not today"]
    first, *place = by_id[failed]
    assert first == (
        f"build {failed} failed at attempt 1 of 1: ZeroDivisionError: division by zero"
    )
    assert [line.strip().rpartition(":")[2].partition(" ")[2] for line in place[::2]] == [
        "in build",
        "in divide",
    ]
    assert all(line.startswith(f"    {__file__}:") for line in place[::2])
    assert [line.strip() for line in place[1::2]] == ["divide(7)", "return number / 0"]
