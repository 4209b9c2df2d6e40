"""Fixtures of the tests of examples in other languages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from broker_queue.client import JobQueue
from tests.languages.duties import Stage, scheduler_with_leases
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler


@pytest.fixture
async def scheduler(
    broker_url: str, namespace: str, database: Path
) -> AsyncIterator[RunningScheduler]:
    """A scheduler that grants leases early and for a moment only."""
    async with scheduler_with_leases(broker_url, namespace, database) as started:
        yield started


@pytest.fixture
def command(request: pytest.FixtureRequest) -> Sequence[str]:
    """The command of the module's worker, which its name `WORKER` returns."""
    found: Sequence[str] = request.module.WORKER()
    return found


@pytest.fixture
def job_type(request: pytest.FixtureRequest) -> str:
    """The rehearsal type of the module's worker, its name `JOB_TYPE`."""
    found: str = request.module.JOB_TYPE
    return found


@pytest.fixture
def stage(
    command: Sequence[str],
    job_type: str,
    queue: JobQueue,
    raw: RawClient,
    broker_url: str,
    namespace: str,
    database: Path,
) -> Stage:
    """What a worker is looked at with."""
    return Stage(
        command=command,
        job_type=job_type,
        url=broker_url,
        namespace=namespace,
        database=database,
        queue=queue,
        raw=raw,
    )
