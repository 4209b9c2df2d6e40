"""Fixtures of the tests of examples in other languages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.languages.duties import scheduler_with_leases
from tests.support.schedulers import RunningScheduler


@pytest.fixture
async def scheduler(
    broker_url: str, namespace: str, database: Path
) -> AsyncIterator[RunningScheduler]:
    """A scheduler that grants leases early and for a moment only."""
    async with scheduler_with_leases(broker_url, namespace, database) as started:
        yield started
