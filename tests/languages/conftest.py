"""Fixtures of the tests of examples in other languages."""

from __future__ import annotations

from collections.abc import AsyncIterator
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
def stage(
    request: pytest.FixtureRequest,
    queue: JobQueue,
    raw: RawClient,
    broker_url: str,
    namespace: str,
    database: Path,
) -> Stage:
    """What the module's worker is looked at with; its names `WORKER` and `JOB_TYPE` say which."""
    return Stage(
        command=request.module.WORKER(),
        job_type=request.module.JOB_TYPE,
        url=broker_url,
        namespace=namespace,
        database=database,
        queue=queue,
        raw=raw,
    )
