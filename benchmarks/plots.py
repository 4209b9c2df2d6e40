"""The figures as plots; matplotlib is in the environment of the benchmarks only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.roster import ROSTER
from benchmarks.summary import latencies, summarize
from benchmarks.workloads import WORKLOADS

PLOTS = Path(__file__).parents[1] / "docs" / "plots"

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "broker-queue"  # the same figures give the same file
mpl.rcParams["svg.fonttype"] = "none"  # text as text: small files, and it can be searched


def draw(document: Mapping[str, Any], folder: Path = PLOTS) -> list[Path]:
    """Write all plots and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _throughput(document, folder / "throughput.svg"),
        _latency(document, folder / "latency.svg"),
    ]


def _throughput(document: Mapping[str, Any], path: Path) -> Path:
    """Bars side by side on a logarithmic scale, with their ranges."""
    found = summarize(document["figures"])
    workloads = [name for name in WORKLOADS if any(name == each for _, each in found)]
    contenders = [name for name in ROSTER if any(name == each for each, _ in found)]
    width = 0.8 / max(1, len(contenders))
    figure, axes = plt.subplots(figsize=(11, 5), layout="constrained")
    for number, name in enumerate(contenders):
        bars = [
            (position + number * width, summary)
            for position, workload in enumerate(workloads)
            if (summary := found.get((name, workload))) is not None and summary.rate is not None
        ]
        rates = [summary.rate or 0.0 for _, summary in bars]
        below = [rate - summary.rates[0] for rate, (_, summary) in zip(rates, bars, strict=True)]
        above = [summary.rates[-1] - rate for rate, (_, summary) in zip(rates, bars, strict=True)]
        axes.bar(
            [place for place, _ in bars],
            rates,
            width,
            yerr=(below, above),
            label=ROSTER[name].title,
            error_kw={"linewidth": 0.7},
        )
    axes.set_yscale("log")
    axes.set_ylabel("jobs/s")
    middle = width * (len(contenders) - 1) / 2
    axes.set_xticks([each + middle for each in range(len(workloads))], workloads, rotation=20)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(ncols=3, fontsize="small")
    return save(figure, path)


def _latency(document: Mapping[str, Any], path: Path) -> Path:
    """How many jobs started how soon after the end of their parent."""
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for name, values in latencies(document["figures"]).items():
        axes.hist(values, bins=60, histtype="step", label=ROSTER[name].title)
    axes.set_xlabel("ms from the end of a job to the start of the next")
    axes.set_ylabel("jobs")
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(fontsize="small")
    return save(figure, path)


def save(figure: Any, path: Path) -> Path:
    """Write a plot, the same bytes for the same figure, and return its path."""
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
