"""The example workers and the variables in which they are told where to find what."""

from __future__ import annotations

import pytest

from tests.languages.fleet import COMMANDS
from tests.languages.worker_process import WorkerProcess

WORKERS = [name for name in COMMANDS if name != "java"]
"""What Java's says is held to the letter in ``test_java.py``."""


@pytest.mark.parametrize("url", ["localhost:5672", "http://me:secret@localhost"])
@pytest.mark.parametrize("language", WORKERS)
async def test_a_wrong_url_ends_a_worker_at_once(language: str, url: str) -> None:
    async with WorkerProcess(COMMANDS[language](), url, "none") as worker:
        assert await worker.ended() in {1, 2}
    assert "BROKER_QUEUE_URL must be amqp://user:password@host:port/vhost" in worker.log
    assert "secret" not in worker.log


@pytest.mark.parametrize("concurrency", ["many", "0", "-1"])
@pytest.mark.parametrize("language", WORKERS)
async def test_a_wrong_concurrency_ends_a_worker_at_once(language: str, concurrency: str) -> None:
    async with WorkerProcess(
        COMMANDS[language](), "amqp://localhost", "none", CONCURRENCY=concurrency
    ) as worker:
        assert await worker.ended() in {1, 2}
    [line] = worker.log.splitlines()
    assert "CONCURRENCY must be a positive number" in line
