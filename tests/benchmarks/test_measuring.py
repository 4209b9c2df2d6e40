"""A figure counts only if every result is right."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.contenders.contender import Place
from benchmarks.contenders.floor import Floor
from benchmarks.contenders.ours import Ours
from benchmarks.measuring import Measured, measure
from benchmarks.rounds import Figure
from benchmarks.summary import summarize
from benchmarks.tables import throughput
from benchmarks.work import PlannedFailure, checksum
from benchmarks.workloads import WORKLOADS, Plan

TINY = dict.fromkeys(WORKLOADS, 3) | {"random": 20, "mixed": 120}


@pytest.fixture
def place(broker_url: str, namespace: str, database: Path) -> Place:
    return Place(broker=broker_url, namespace=namespace, folder=str(database.parent))


class _Remembering:
    """A contender that knows the results, or what is given as them."""

    pids: list[int] = []  # noqa: RUF012  # as the protocol has it

    def __init__(self, change: dict[int, int] | None = None, last: int | None = None) -> None:
        self._change = change or {}
        self._last = last

    def why_not(self, plan: Plan) -> str | None:
        return "too many" if len(plan.tasks) > 100 else None

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def run(self, plan: Plan, run: str) -> list[int]:
        results = dict(enumerate(plan.expected())) | self._change
        return list(results.values())[: self._last]


def _figure(measured: Measured, workload: str = "flat") -> Figure:
    known = {"contender": "ours", "workload": workload, "size": 3, "round": 0}
    return known | dict(measured)


def test_right_results_give_a_figure() -> None:
    measured = measure(_Remembering(), WORKLOADS["layers"].make(3), "run")
    assert measured["jobs"] == 30
    assert measured["edges"] == 81
    assert measured["seconds"] > 0


@pytest.mark.parametrize(
    ("contender", "problem"),
    [
        (_Remembering({1: 0}), "wrong: 1 results, first: job 1 gave 0, not"),
        (_Remembering(last=2), "wrong: 2 results of 3 jobs"),
    ],
)
def test_one_wrong_or_missing_result_voids_the_figure(
    contender: _Remembering, problem: str
) -> None:
    plan = WORKLOADS["flat"].make(3)
    bad = measure(contender, plan, "run")
    assert "seconds" not in bad
    assert bad["void"].startswith(problem)
    good = measure(_Remembering(), plan, "run")
    summary = summarize([_figure(good), _figure(bad)])["ours", "flat"]
    assert summary.rate is None  # whatever the other rounds gave
    assert summary.void == bad["void"]


def test_the_table_says_why_there_is_no_figure() -> None:
    measured = measure(_Remembering(), WORKLOADS["flat"].make(101), "run")
    text = throughput({"figures": [_figure(measured)]})
    assert "| no (1) |" in text
    assert text.endswith("1. cannot: too many")


def test_a_job_that_fails_once_fails_once(tmp_path: Path) -> None:
    marker = str(tmp_path / "marker")
    with pytest.raises(PlannedFailure):
        checksum(1, [2], marker)
    assert checksum(1, [2], marker) == checksum(1, [2])


@pytest.mark.parametrize("kind", [Ours, Floor])
async def test_every_workload_gives_right_results(
    kind: type[Ours | Floor], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> dict[str, Measured]:
        contender = kind(place)
        try:
            contender.start()
            return {
                name: measure(contender, workload.make(TINY[name]), name)
                for name, workload in WORKLOADS.items()
                if contender.why_not(workload.make(TINY[name])) is None
            }
        finally:
            contender.stop()

    for name, measured in (await asyncio.to_thread(run)).items():
        assert "void" not in measured, (name, measured)
