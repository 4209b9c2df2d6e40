"""Every part of the scale benchmark at a tiny size, and what becomes of a part that dies."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.contenders.contender import Place
from benchmarks.scale import __main__ as program
from benchmarks.scale import fillers, latency, stalls, submits, tables, waiting
from benchmarks.scale.parts import PARTS
from benchmarks.scale.running import Command, Found, Running
from benchmarks.scale.scene import LEAST, Row, Scene

TINY = 0.0001
ANSWERS = {"latency": 3, "submit": 2, "stalls": 5, "waiting": 3, "cost-flat": 1}
"""How many rows each part has; the parts that are left out differ in the shape only."""


@pytest.fixture
def _fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (latency, stalls, submits, waiting):
        monkeypatch.setattr(module, "REPEATS", 1)
    monkeypatch.setattr(latency, "SETTLE", 0.2)
    monkeypatch.setattr(stalls, "BEFORE", 0.3)
    monkeypatch.setattr(stalls, "AFTERWARDS", 0.1)
    monkeypatch.setattr(fillers, "LOOK_AGAIN", 0.05)


@pytest.mark.usefixtures("_fewer")
@pytest.mark.parametrize("name", ANSWERS)
async def test_every_part_answers(
    name: str, broker_url: str, namespace: str, tmp_path: Path, database: Path
) -> None:
    said: list[str] = []
    place = Place(broker=broker_url, namespace=namespace, folder=str(tmp_path))

    def run() -> list[Row]:
        return list(PARTS[name].measure(Scene(place, TINY, said.append)))

    rows = await asyncio.to_thread(run)
    (tmp_path / "jobs.sqlite3").rename(database)  # by which its queues are deleted
    assert len(rows) == ANSWERS[name]
    assert said
    document = {"parts": {name: {"rows": rows, "scale": TINY}}}
    shown = (
        tables.latency, tables.submits, tables.stalls, tables.waiting, tables.costs, tables.reached
    )  # fmt: skip
    assert any(f"{LEAST:,}" in table(document) for table in shown) or name == "latency"
    json.dumps(rows)


@pytest.mark.usefixtures("server")
def test_the_program_measures_on_a_broker_of_its_own_and_keeps_other_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scale.json"
    kept: Found = {"date": "2026-01-01", "scale": 1.0, "rows": [], "seconds": 1.0}
    tables.write(path, {"parts": {"stalls": kept}})
    options = ["--scale", str(TINY), "--only", "submit", "--output", str(path)]
    assert program.main(options) == 0
    found = tables.read(path)
    assert found["parts"]["stalls"] == kept
    assert [row["jobs"] for row in found["parts"]["submit"]["rows"]] == [LEAST, LEAST]
    assert "RabbitMQ" in found["versions"]
    assert "submit: shape flat, jobs 100" in capsys.readouterr().out


async def test_a_part_that_dies_costs_its_own_figures_only() -> None:
    answer = """print('{"row": {"jobs": 1}}', flush=True)"""
    programs = {
        "latency": f"{answer}; import sys; sys.exit('out of order')",
        "submit": f"{answer}; import time; time.sleep(60)",
        "stalls": answer,
    }
    bounded = Running(scale=TINY, seconds=2.0, tell=lambda _: None, command=_runs(programs))
    found = {name: await bounded.run(name) for name in programs}
    assert found["latency"]["void"] == "its process ended with code 1: out of order"
    assert found["latency"]["rows"] == [{"jobs": 1}]
    assert found["submit"]["rows"] == [{"jobs": 1}]
    assert found["submit"]["void"].startswith("more than ")
    assert found["stalls"]["void"] == "no time was left"
    again = Running(scale=TINY, seconds=60.0, tell=lambda _: None, command=_runs(programs))
    assert "void" not in await again.run("stalls")


async def test_a_part_that_has_no_room_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.scale.running.shutil.disk_usage", _full)
    running = Running(scale=1.0, seconds=60.0, tell=lambda _: None, command=_runs({}))
    found = await running.run("submit")
    assert "has 0 MB left, and this needs 1,500" in found["void"]


class _full:
    free = 0

    def __init__(self, _path: Path) -> None: ...


def _runs(programs: dict[str, str]) -> Command:
    def command(name: str, _scale: float) -> Sequence[str]:
        return [sys.executable, "-c", programs[name]]

    return command
