"""One measurement: a plan is done, its results are checked, and only then does its time count."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Protocol, TypedDict

from benchmarks.contenders.contender import Contender
from benchmarks.processes import processor_seconds
from benchmarks.workloads import Plan


class Measured(TypedDict, total=False):
    """What came of one plan: a time, or why there is none."""

    jobs: int
    edges: int
    seconds: float
    processor: dict[str, float]
    """Seconds of processor time of the client, the contender's processes, and others by name."""
    void: str


class HasLatency(Protocol):
    """A contender whose jobs say when they started and ended."""

    def latencies(self, jobs: int) -> list[float]: ...


def measure(
    contender: Contender, plan: Plan, run: str, others: Mapping[str, int] | None = None
) -> Measured:
    """Do a plan and return how long it took, if every result is right.

    Args:
        contender: started.
        plan: what to do.
        run: a name that no other run has.
        others: further processes whose time is noted: name → process id.
    """
    reason = contender.why_not(plan)
    if reason is not None:
        return {"void": f"cannot: {reason}"}
    watched = {
        "client": [os.getpid()],
        "processes": contender.pids,
        **{name: [pid] for name, pid in (others or {}).items()},
    }
    before = _processor(watched)
    begun = time.perf_counter()
    try:
        results = contender.run(plan, run)
    except Exception as error:  # whatever a peer raises, it is what the table says
        return {"void": f"failed: {type(error).__name__}: {str(error)[:200]}"}
    seconds = time.perf_counter() - begun
    after = _processor(watched)
    problem = wrong(plan, results)
    if problem is not None:
        return {"void": f"wrong: {problem}"}
    return {
        "jobs": len(plan.tasks),
        "edges": plan.edges,
        "seconds": seconds,
        "processor": {name: round(after[name] - before[name], 3) for name in watched},
    }


def wrong(plan: Plan, results: Sequence[object]) -> str | None:
    """Return what is wrong with the results of a plan, or None."""
    expected = plan.expected()
    if len(results) != len(expected):
        return f"{len(results)} results of {len(expected)} jobs"
    bad = [
        f"job {position} gave {got!r}, not {right}"
        for position, (got, right) in enumerate(zip(results, expected, strict=True))
        if got != right
    ]
    return f"{len(bad)} results, first: {bad[0]}" if bad else None


def measure_latency(contender: HasLatency, jobs: int) -> dict[str, object]:
    """Return the latencies of a chain in milliseconds, sorted."""
    return {"latencies": sorted(round(each * 1000, 3) for each in contender.latencies(jobs))}


def _processor(watched: Mapping[str, Sequence[int]]) -> dict[str, float]:
    used = {name: processor_seconds(pids) for name, pids in watched.items()}
    used["client"] -= used["processes"]  # they are its children
    return used
