"""The parts of a run: what each measures, and how long it may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.scale.cost import cost
from benchmarks.scale.fillers import Shape
from benchmarks.scale.latency import latency
from benchmarks.scale.scene import Row, Scene
from benchmarks.scale.stalls import stalls
from benchmarks.scale.submits import submits
from benchmarks.scale.waiting import waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One question.

    Args:
        measure: yields its answers, each as soon as it is known.
        bound: seconds after which it is given up.
        disk: megabytes that its database takes in a full run.
    """

    measure: Callable[[Scene], Iterator[Row]]
    bound: float
    disk: int


PARTS = {
    "latency": Part(measure=latency, bound=400.0, disk=500),
    "submit": Part(measure=submits, bound=240.0, disk=1_500),
    "stalls": Part(measure=stalls, bound=500.0, disk=1_500),
    "waiting": Part(measure=waiting, bound=400.0, disk=3_000),
    **{
        f"cost-{shape}": Part(measure=partial(cost, shape=shape), bound=500.0, disk=3_000)
        for shape in (Shape.FLAT, Shape.CHAINS, Shape.RANDOM)
    },
}
"""By name, in the order in which they run: those that take long are the last."""

COST = tuple(name for name in PARTS if name.startswith("cost-"))

NAMES = (*PARTS, "cost")
"""What may be asked for; the last means several."""


def chosen(only: Sequence[str]) -> list[str]:
    """Return the parts that were asked for, in their order; all when none was."""
    return [name for name in PARTS if not only or name in only or name.partition("-")[0] in only]
