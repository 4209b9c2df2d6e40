"""The figures with very many jobs as plots; matplotlib is in the environment of the benchmarks only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib import pyplot as plt

from benchmarks.plots import PLOTS, save
from benchmarks.scale.figures import steps
from benchmarks.scale.goals import rows_of
from benchmarks.scale.parts import COST

LATENCIES = (0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
"""Milliseconds that are named at the axis."""


def draw(document: Mapping[str, Any], folder: Path = PLOTS) -> list[Path]:
    """Write both plots and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _cost_by_size(document, folder / "cost-by-size.svg"),
        _latency_histogram(document, folder / "latency-histogram.svg"),
    ]


def _cost_by_size(document: Mapping[str, Any], path: Path) -> Path:
    """Medians of the probes with their ranges."""
    figure, both = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    titles = {"scheduler": "processor time of the scheduler", "elapsed": "time, all in all"}
    for axes, (name, title) in zip(both, titles.items(), strict=True):
        for part in COST:
            rows = rows_of(document, part)
            middle = [median(row[name]) for row in rows]
            below = [value - min(row[name]) for value, row in zip(middle, rows, strict=True)]
            above = [max(row[name]) - value for value, row in zip(middle, rows, strict=True)]
            axes.errorbar(
                [row["size"] for row in rows],
                middle,
                yerr=(below, above),
                marker="o",
                markersize=4,
                capsize=3,
                label=part.removeprefix("cost-"),
            )
        _log_axis(axes, {row["size"] for part in COST for row in rows_of(document, part)})
        axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("jobs in the database")
        axes.set_ylabel("microseconds a job")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return save(figure, path)


def _latency_histogram(document: Mapping[str, Any], path: Path) -> Path:
    """How many of all jobs started how soon after the end of their parent."""
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for row in rows_of(document, "latency"):
        if "histogram" in row:
            edges, shares = steps(row["histogram"])
            label = f"{row['what']}: p50 {row['p50']:.1f} ms, p99 {row['p99']:.1f} ms"
            drawn = axes.stairs(shares, edges, label=label)
            for share in ("p50", "p99"):
                axes.axvline(row[share], color=drawn.get_edgecolor(), linestyle=":", linewidth=1)
    low, high = axes.get_xlim()
    _log_axis(axes, [each for each in LATENCIES if low <= each <= high])
    axes.set_xlabel("ms from the end of a job to the start of the next")
    axes.set_ylabel("% of the jobs")
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(fontsize="small")
    return save(figure, path)


def _log_axis(axes: Any, named: Collection[float]) -> None:
    """Name these values, and no others: fewer lines, and no powers of ten to be read."""
    axes.set_xscale("log")
    axes.set_xticks(sorted(named), [f"{each:,.7g}" for each in sorted(named)])
    axes.minorticks_off()
