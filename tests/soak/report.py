"""The table of a soak."""

from __future__ import annotations

from collections.abc import Iterator

from tests.soak.run import Soaked

SHOWN = 20
"""Problems."""


def table(soaked: Soaked) -> str:
    """Return what was done, what memory it took, and what should not be."""
    return "\n".join(_lines(soaked))


def _lines(soaked: Soaked) -> Iterator[str]:
    tally = soaked.tally
    yield f"{'jobs':<24}{tally.jobs:>10,}  (in {soaked.seconds:,.0f} s)"
    yield f"{'graphs':<24}{tally.graphs:>10,}"
    for state, count in sorted(tally.states.items()):
        yield f"  {state:<22}{count:>10,}"
    for name, memory in soaked.memory.items():
        yield (
            f"{'memory of ' + name:<24}{max(memory.samples, default=0.0):>10.1f} MiB at most, {memory.growth:+.1f} since "
            "the second quarter"
        )
    yield f"{'database':<24}{soaked.database / max(1, tally.jobs):>10,.0f} bytes a job"
    yield f"{'problems':<24}{len(soaked.problems):>10,}"
    yield from (f"  {problem}" for problem in soaked.problems[:SHOWN])
    if len(soaked.problems) > SHOWN:
        yield f"  … and {len(soaked.problems) - SHOWN} more"
