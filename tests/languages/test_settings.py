"""The example workers and the variables in which they are told where to find what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.languages.toolchains import (
    go_worker,
    node_worker,
    plain_python_worker,
    ruby_worker,
    shell_worker,
)
from tests.languages.worker_process import WorkerProcess

WORKERS = (go_worker, node_worker, ruby_worker, shell_worker, plain_python_worker)
"""What Java's says is held to the letter in ``test_java.py``."""


@pytest.mark.parametrize("url", ["localhost:5672", "http://me:secret@localhost"])
@pytest.mark.parametrize("command", WORKERS)
async def test_a_wrong_url_ends_a_worker_at_once(
    command: Callable[[], list[str]], url: str
) -> None:
    async with WorkerProcess(command(), url, "none") as worker:
        assert await worker.ended() in {1, 2}
    assert "BROKER_QUEUE_URL must be amqp://user:password@host:port/vhost" in worker.log
    assert "secret" not in worker.log


@pytest.mark.parametrize("concurrency", ["many", "0", "-1"])
@pytest.mark.parametrize("command", WORKERS)
async def test_a_wrong_concurrency_ends_a_worker_at_once(
    command: Callable[[], list[str]], concurrency: str
) -> None:
    async with WorkerProcess(
        command(), "amqp://localhost", "none", CONCURRENCY=concurrency
    ) as worker:
        assert await worker.ended() in {1, 2}
    [line] = worker.log.splitlines()
    assert "CONCURRENCY must be a positive number" in line
