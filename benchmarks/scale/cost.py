"""What does a job cost, with how many others in the database?"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contenders.ours import Ours
from benchmarks.measuring import measure
from benchmarks.processes import running_seconds
from benchmarks.scale.fillers import Shape, fill
from benchmarks.scale.scene import Row, Scene
from benchmarks.workloads import WORKLOADS, Plan, chains

SIZES = (1_000, 10_000, 100_000, 1_000_000)
"""Jobs that are there before the probes."""

PROBE = 1_000
"""Jobs whose cost is measured, the same at each size; they stay there, too."""

PROBE_CHAINS = 10
WARM_UP = 5
"""The first probe, which does not count, has a fifth of the jobs."""

REPEATS = 5


class WrongResults(Exception):
    """A probe has none that counts."""


def cost(scene: Scene, shape: Shape) -> Iterator[Row]:
    """Yield the costs of some probes for each size."""
    jobs = scene.scaled(PROBE)
    with scene.ours() as ours:
        there = jobs // WARM_UP
        _probe(ours, shape, there, "warm-up")
        for size in dict.fromkeys(scene.scaled(size) for size in SIZES):
            there = _fill(scene, ours, shape, there, size)
            found = [_probe(ours, shape, jobs, f"{size}-{number}") for number in range(REPEATS)]
            there += REPEATS * jobs
            yield {
                "shape": shape,
                "size": size,
                "probe": jobs,
                "rates": [round(rate, 1) for rate, _ in found],
                "elapsed": [round(1e6 / rate, 1) for rate, _ in found],
                "scheduler": [round(used, 1) for _, used in found],
            }


def _fill(scene: Scene, ours: Ours, shape: Shape, there: int, size: int) -> int:
    more = max(0, size - there)

    def tell(added: int) -> None:
        scene.say(f"{there + added:,} of {size:,} jobs are there")

    ours.do(lambda queue: fill(queue, shape, more, tell))
    return there + more


def _probe(ours: Ours, shape: Shape, jobs: int, run: str) -> tuple[float, float]:
    """Return jobs a second, and microseconds of the scheduler's processor time for each."""
    before = running_seconds(ours.scheduler_pids)
    measured = measure(ours, _plan(shape, jobs), run)
    used = running_seconds(ours.scheduler_pids) - before
    if "void" in measured:
        raise WrongResults(measured["void"])
    return measured["jobs"] / measured["seconds"], used / measured["jobs"] * 1e6


def _plan(shape: Shape, jobs: int) -> Plan:
    match shape:
        case Shape.FLAT:
            return WORKLOADS["flat"].make(jobs)
        case Shape.CHAINS:
            return chains(PROBE_CHAINS, jobs // PROBE_CHAINS)
        case _:
            return WORKLOADS["random"].make(jobs)
