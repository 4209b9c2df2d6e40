"""Medians and ranges of what the rounds gave, and the file that they are kept in."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import hardware, versions
from benchmarks.roster import ROSTER
from benchmarks.rounds import LATENCY, Figure

RESULTS = Path(__file__).parent / "results"
LATEST = RESULTS / "latest.json"
QUICK = RESULTS / "quick.json"
"""Of a quick run, whose figures are not for the docs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One contender's figures of one workload, over all rounds.

    Args:
        rates: jobs/s of each round, sorted.
        jobs: of the plan.
        processor: microseconds of processor time for each job, medians: whose → how many.
        void: why a round gave no figure, of the first that did not.
    """

    rates: Sequence[float]
    jobs: int = 0
    processor: Mapping[str, float]
    void: str | None

    @property
    def rate(self) -> float | None:
        """The median, if every round counts: one wrong result voids all."""
        return median(self.rates) if self.rates and self.void is None else None


def summarize(figures: Sequence[Figure]) -> dict[tuple[str, str], Summary]:
    """Return summaries by contender and workload."""
    groups: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    for figure in figures:
        if figure["workload"] != LATENCY:
            groups[figure["contender"], figure["workload"]].append(figure)
    return {key: _summary(group) for key, group in groups.items()}


def latencies(figures: Sequence[Figure]) -> dict[str, list[float]]:
    """Return all latencies in milliseconds, sorted, by contender."""
    found: dict[str, list[float]] = defaultdict(list)
    for figure in figures:
        found[figure["contender"]] += figure.get("latencies", [])
    return {name: sorted(values) for name, values in found.items() if values}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the sorted values lies."""
    return values[min(len(values) - 1, int(len(values) * share))]


def document(figures: Sequence[Figure], *, rounds: int, broker: str, small: bool) -> dict[str, Any]:
    """Return everything that a reader of the figures must know.

    Args:
        figures: of all rounds.
        rounds: how many there were.
        broker: its version.
        small: the sizes are those of a quick run.
    """
    names = dict.fromkeys(figure["contender"] for figure in figures)
    packages = sorted({package for name in names for package in ROSTER[name].packages})
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rounds": rounds,
        "small": small,
        "hardware": hardware(),
        "versions": {"RabbitMQ": broker} | versions(packages),
        "settings": {name: ROSTER[name].settings for name in names},
        "figures": list(figures),
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a document, a figure a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = ",\n".join(f"    {json.dumps(figure)}" for figure in content["figures"])
    rest = json.dumps({**content, "figures": []}, indent=2)
    path.write_text(rest.replace('"figures": []', f'"figures": [\n{figures}\n  ]') + "\n")


def read(path: Path = LATEST) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def _summary(figures: Sequence[Figure]) -> Summary:
    counted = [figure for figure in figures if "seconds" in figure]
    reasons = [figure["void"] for figure in figures if "void" in figure]
    whose = dict.fromkeys(name for figure in counted for name in figure["processor"])
    return Summary(
        rates=sorted(figure["jobs"] / figure["seconds"] for figure in counted),
        jobs=counted[0]["jobs"] if counted else 0,
        processor={
            name: median(figure["processor"][name] / figure["jobs"] * 1e6 for figure in counted)
            for name in whose
        },
        void=reasons[0] if reasons else None,
    )
