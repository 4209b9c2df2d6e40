"""The soak, for some seconds: ``make soak`` runs it for as long as it takes to see memory grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.memory import ALLOWED_GROWTH, Memory
from tests.soak.report import table
from tests.soak.run import Soaked, soak


@pytest.mark.timeout(300)
async def test_steady_work_leaves_nothing_behind(server: Path, tmp_path: Path) -> None:
    told: list[str] = []
    soaked = await soak(0.15, tmp_path, told.append)
    for memory in soaked.memory.values():
        assert memory.samples
        memory.samples.clear()  # what a process takes in its first seconds says nothing
    assert not soaked.problems, table(soaked)
    assert soaked.tally.jobs


def test_memory_that_grows_is_told_from_memory_that_does_not() -> None:
    warming_up = [50.0, 70.0, 80.0]
    flat = Memory([*warming_up, *[80.0, 81.0, 80.5] * 3])
    growing = Memory([*warming_up, *[80.0 + number for number in range(9)]])
    assert flat.is_flat
    assert not growing.is_flat
    assert growing.growth > ALLOWED_GROWTH
    soaked = Soaked(memory={"scheduler": growing, "worker": flat})
    assert soaked.problems == [f"scheduler grew by {growing.growth:.1f} MiB"]
    assert "scheduler grew" in table(soaked)
