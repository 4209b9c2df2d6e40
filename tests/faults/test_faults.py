"""The crash tests, for half a minute: ``make faults`` runs them for longer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.report import table
from tests.faults.run import Options, run

KILLS = 25


@pytest.mark.timeout(300)
async def test_nothing_is_lost_whatever_is_killed(
    broker_url: str, server: Path, tmp_path: Path
) -> None:
    seed = random.randrange(1_000_000)
    options = Options(seed=seed, kills=KILLS, seconds=30.0, folder=tmp_path)
    report = await run(options)
    shown = f"seed {seed}\n{table(report)}"
    assert not report.violations, shown
    assert report.kills.total() > 0, shown
