"""What is made of raw figures, without I/O: shares of values, stalls, histograms, ratios."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.scale.scene import Row
from benchmarks.summary import percentile

BINS_PER_DECADE = 25
"""Of a histogram: each bin is a tenth longer than the one before."""


class Sample(NamedTuple):
    """One unrelated job; times by the clock that all processes share.

    It counts from when it was due, not from when it was sent: a client that is held up itself would
    else hide how long (https://www.scylladb.com/2021/04/22/on-coordinated-omission/).
    """

    due: float
    answered: float
    started: float


class Stalls(NamedTuple):
    """Seconds from when unrelated jobs were due."""

    usual: float
    """Median until the start of those before."""
    longest: float
    """Until the start of the one that was held up longest."""
    longest_answer: float
    """Until the enqueue that was held up longest had returned."""
    jobs: int


def find_stalls(samples: Sequence[Sample], begun: float, ended: float) -> Stalls:
    """Return how long unrelated jobs were held up between two moments.

    Raises:
        ValueError: no job was on its way then, or none before.
    """
    before = [each.started - each.due for each in samples if each.started < begun]
    during = [
        each for each in samples if each.due <= ended and max(each.started, each.answered) >= begun
    ]
    if not before or not during:
        raise ValueError(f"{len(before)} unrelated jobs before, {len(during)} meanwhile")
    return Stalls(
        usual=median(before),
        longest=max(each.started - each.due for each in during),
        longest_answer=max(each.answered - each.due for each in during),
        jobs=len(during),
    )


def spread(seconds: Iterable[float]) -> Row:
    """Return percentiles in milliseconds, and a histogram of all values."""
    values = sorted(each * 1000 for each in seconds)
    shares = {f"p{round(share * 100)}": percentile(values, share) for share in (0.5, 0.9, 0.99)}
    return {
        "jobs": len(values),
        **{name: round(value, 2) for name, value in shares.items()},
        "max": round(values[-1], 2),
        "histogram": histogram(values),
    }


def histogram(milliseconds: Iterable[float]) -> dict[str, int]:
    """Return how many values are in which bin: the number of the bin → how many."""
    counts = Counter(
        math.floor(math.log10(max(value, 0.01)) * BINS_PER_DECADE) for value in milliseconds
    )
    return {str(number): counts[number] for number in sorted(counts)}


def lower_edge(number: int) -> float:
    """Return the milliseconds at which a bin begins."""
    return float(10 ** (number / BINS_PER_DECADE))


def steps(bins: Mapping[str, int]) -> tuple[list[float], list[float]]:
    """Return the edges of a histogram's bins, and the percentage of all values in each."""
    numbers = range(min(map(int, bins)), max(map(int, bins)) + 1)
    total = sum(bins.values())
    shares = [bins.get(str(number), 0) / total * 100 for number in numbers]
    return [lower_edge(number) for number in (*numbers, numbers[-1] + 1)], shares


def growth(rows: Sequence[Row], figure: str) -> float | None:
    """Return how many times as much a job costs at the largest size as at a hundredth of it.

    Args:
        rows: of the costs of one shape.
        figure: the name of a list of costs, whose medians are compared.
    """
    found = sorted(rows, key=lambda row: row["size"])
    if len(found) < 2:
        return None
    large = found[-1]
    small = min(found[:-1], key=lambda row: abs(math.log(row["size"] * 100 / large["size"])))
    return float(median(large[figure]) / median(small[figure]))
