"""What is to be reached, and whether it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

from benchmarks.scale.figures import growth
from benchmarks.scale.parts import COST
from benchmarks.scale.scene import Row

AIM, MUST, MISSED, UNKNOWN = "aim", "must", "**no**", "not measured"
TOO_SMALL = "too few jobs to tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One figure, and how small it should be.

    Args:
        text: what it is.
        unit: of the three numbers.
        must: what is expected.
        aim: what is hoped for.
        found: what was measured, or None.
        jobs: how many it was measured with.
        is_full: these are as many as the goal speaks of.
    """

    text: str
    unit: str
    must: float
    aim: float
    found: float | None
    jobs: int = 0
    is_full: bool = True

    @property
    def reached(self) -> str:
        if self.found is None:
            return UNKNOWN
        if not self.is_full:
            return TOO_SMALL
        if self.found <= self.aim:
            return AIM
        return MUST if self.found <= self.must else MISSED


def rows_of(document: Mapping[str, Any], part: str) -> list[Row]:
    """Return the answers of a part, as many as there are."""
    return list(document["parts"].get(part, {}).get("rows", []))


def goals(document: Mapping[str, Any]) -> list[Goal]:
    """Return all goals with what was measured."""
    return [
        replace(goal, is_full=_is_full(document, part))
        for part, goals_of in _GOALS.items()
        for goal in goals_of(rows_of(document, part))
    ]


def _is_full(document: Mapping[str, Any], part: str) -> bool:
    """Whether a part had all the jobs that its goals speak of; costs compare the last with others."""
    found = document["parts"].get(part, {})
    is_cut_off = part in COST and "void" in found
    return bool(found.get("scale", 0) >= 1 and not is_cut_off)


def _latencies(rows: Sequence[Row]) -> list[Goal]:
    found = {row["what"]: row for row in rows}
    return [
        Goal(
            text=f"end of a job → start of the next, {what}, {share}",
            unit="ms",
            must=must,
            aim=aim,
            found=found.get(what, {}).get(share),
            jobs=found.get(what, {}).get("jobs", 0),
        )
        for what in ("idle", "half load")
        for share, must, aim in (("p50", 5, 3), ("p99", 25, 10))
    ]


def _submits(rows: Sequence[Row]) -> list[Goal]:
    found = {row["shape"]: row for row in rows}
    return [
        Goal(
            text=f"submit of a graph of 100,000 jobs, {shape}",
            unit="s",
            must=5,
            aim=2,
            found=median(found[shape]["seconds"]) if shape in found else None,
            jobs=found.get(shape, {}).get("jobs", 0),
        )
        for shape in ("flat", "layers")
    ]


def _stalls(rows: Sequence[Row]) -> list[Goal]:
    found = {row["what"]: row for row in rows}
    return [
        Goal(
            text=f"longest stall of an unrelated job, {what} of 100,000",
            unit="ms",
            must=250,
            aim=100,
            found=max(found.get(what, {}).get("longest", []), default=None),
            jobs=found.get(what, {}).get("jobs", 0),
        )
        for what in ("fan-out", "fan-out and fan-in")
    ]


def _waiting(rows: Sequence[Row]) -> list[Goal]:
    jobs = rows[0]["jobs"] if rows else 0
    restarts = {row["what"]: row for row in rows if "works" in row}
    memory = Goal(
        text="1,000,000 waiting jobs: memory of the scheduler",
        unit="MB",
        must=200,
        aim=120,
        found=max((row["memory"] for row in rows), default=None),
        jobs=jobs,
    )
    return [
        memory,
        *(
            Goal(
                text=f"1,000,000 waiting jobs: first job done after {what}",
                unit="s",
                must=10,
                aim=3,
                found=median(restarts[key]["works"]) if key in restarts else None,
                jobs=jobs,
            )
            for key, what in (("stop", "a restart"), ("kill -9", "`kill -9` and a restart"))
        ),
    ]


def _costs(rows: Sequence[Row], shape: str) -> list[Goal]:
    return [
        Goal(
            text=f"{what} of a job with 1,000,000 in the database : with 10,000, {shape}",
            unit="",
            must=1.3,
            aim=1.1,
            found=growth(rows, figure),
            jobs=max((row["size"] for row in rows), default=0),
        )
        for figure, what in (("scheduler", "processor time"), ("elapsed", "time"))
    ]


_GOALS: dict[str, Callable[[Sequence[Row]], list[Goal]]] = {
    "latency": _latencies,
    "submit": _submits,
    "stalls": _stalls,
    "waiting": _waiting,
    **{part: partial(_costs, shape=part.removeprefix("cost-")) for part in COST},
}
"""By part."""
