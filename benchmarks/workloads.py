"""What there is to do: plans of jobs, and the results that must come out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count

from benchmarks.work import checksum

SEED = 20261124

Strand = Sequence[Sequence[int]]
"""Stages, each of which needs all of the one before: all that chains and groups can say."""


class Submission(StrEnum):
    """How the jobs of a plan are handed over."""

    WHOLE = "whole"
    """In as few calls as there are graphs."""

    HUNDREDS = "hundreds"
    """100 at a time, by whatever bulk call there is."""

    ONE_BY_ONE = "one by one"
    """A call for each job; the next only when the one before has returned."""

    AT_ONCE = "at once"
    """A call for each job, made by 50 tasks of one client."""


@dataclass(frozen=True, slots=True)
class Task:
    """One job.

    Args:
        salt: its input.
        parents: positions of the jobs that it depends on, all of them earlier.
        fails_once: its first attempt fails.
    """

    salt: int
    parents: tuple[int, ...] = ()
    fails_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Jobs in an order in which they could run, and how they hang together.

    Args:
        tasks: the jobs.
        strands: the same as chains of stages, or None if they are no such thing.
        submission: how they are handed over.
        passes_results: each gets its parents' results; else it only runs after them.
        milestones: the stages are held apart by milestones, not by an edge for each pair of jobs.
    """

    tasks: Sequence[Task]
    strands: Sequence[Strand] | None
    submission: Submission = Submission.WHOLE
    passes_results: bool = True
    milestones: bool = False

    @property
    def edges(self) -> int:
        return sum(len(task.parents) for task in self.tasks)

    def expected(self) -> list[int]:
        """Return the right result of each job."""
        results: list[int] = []
        for task in self.tasks:
            results.append(checksum(task.salt, self.inputs(task, results)))
        return results

    def inputs(self, task: Task, results: Sequence[int]) -> list[int]:
        """Return what a job gets of its parents' results."""
        return [results[parent] for parent in task.parents] if self.passes_results else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A plan of any size.

    Args:
        name: as on the command line.
        text: what it is, for the table.
        make: returns the plan of a size.
        size: jobs of a full run; of layers, their width.
        quick: the same of a quick run.
    """

    name: str
    text: str
    make: Callable[[int], Plan]
    size: int
    quick: int


@dataclass(slots=True)
class _Draft:
    """Strands that are being put together."""

    tasks: list[Task] = field(default_factory=list)
    strands: list[Strand] = field(default_factory=list)
    salts: count[int] = field(default_factory=lambda: count(1))

    def strand(self, *widths: int, fails_once: bool = False) -> None:
        """Add stages of these widths; with `fails_once`, the very first job fails once."""
        stages: list[Sequence[int]] = []
        before: Sequence[int] = ()
        for width in widths:
            stage = range(len(self.tasks), len(self.tasks) + width)
            self.tasks += [
                Task(next(self.salts), tuple(before), fails_once and not before and position == 0)
                for position in range(width)
            ]
            stages.append(stage)
            before = stage
        self.strands.append(stages)

    def plan(
        self,
        submission: Submission = Submission.WHOLE,
        *,
        passes_results: bool = True,
        milestones: bool = False,
    ) -> Plan:
        return Plan(
            tasks=self.tasks,
            strands=self.strands,
            submission=submission,
            passes_results=passes_results,
            milestones=milestones,
        )


def _flat(submission: Submission) -> Callable[[int], Plan]:
    def make(jobs: int) -> Plan:
        draft = _Draft()
        for _ in range(jobs):
            draft.strand(1)
        return draft.plan(submission)

    return make


def chains(number: int, length: int) -> Plan:
    """Return chains beside each other."""
    draft = _Draft()
    for _ in range(number):
        draft.strand(*[1] * length)
    return draft.plan()


def _chain(jobs: int) -> Plan:
    return chains(1, jobs)


def _fan_in(jobs: int) -> Plan:
    draft = _Draft()
    draft.strand(jobs, 1)
    return draft.plan()


LAYERS = 10


def _layers(*, passes_results: bool = True, milestones: bool = False) -> Callable[[int], Plan]:
    def make(width: int) -> Plan:
        draft = _Draft()
        draft.strand(*[width] * LAYERS)
        return draft.plan(passes_results=passes_results, milestones=milestones)

    return make


MAX_PARENTS = 4


def random_parents(jobs: int) -> list[tuple[int, ...]]:
    """Return for each job up to four of the fifty before it, the same ones in each run."""
    chance = random.Random(SEED)
    nearby = (range(max(0, number - 50), number) for number in range(jobs))
    return [
        tuple(chance.sample(near, min(len(near), chance.randint(0, MAX_PARENTS))))
        for near in nearby
    ]


def _random(jobs: int) -> Plan:
    parents = random_parents(jobs)
    return Plan(tasks=[Task(salt, each) for salt, each in enumerate(parents)], strands=None)


def _mixed(jobs: int) -> Plan:
    """A third in chains of ten, a third in fan-ins of forty, a third alone; 1 of 20 fails once."""
    draft = _Draft()
    for number in range(jobs // 30):
        draft.strand(*[1] * 10, fails_once=number % 20 == 0)
    for number in range(jobs // 120):
        draft.strand(39, 1, fails_once=number % 2 == 0)
    for number in range(jobs // 3):
        draft.strand(1, fails_once=number % 10 == 0)
    return draft.plan()


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            name="flat",
            text="independent jobs, submitted 100 at a time",
            make=_flat(Submission.HUNDREDS),
            size=5_000,
            quick=1_000,
        ),
        Workload(
            name="flat-one-by-one",
            text="independent jobs, each call returned before the next",
            make=_flat(Submission.ONE_BY_ONE),
            size=5_000,
            quick=1_000,
        ),
        Workload(
            name="flat-at-once",
            text="independent jobs, one a call, by 50 tasks of one client",
            make=_flat(Submission.AT_ONCE),
            size=5_000,
            quick=1_000,
        ),
        Workload(name="chain", text="each after the one before", make=_chain, size=500, quick=100),
        Workload(
            name="fan-in-1000",
            text="then one with all results",
            make=_fan_in,
            size=1_000,
            quick=200,
        ),
        Workload(
            name="fan-in-5000",
            text="then one with all results",
            make=_fan_in,
            size=5_000,
            quick=600,
        ),
        Workload(
            name="layers",
            text="ten layers, each job with all results of the layer before",
            make=_layers(),
            size=100,
            quick=30,
        ),
        Workload(
            name="layers-order",
            text="the same, edges without results",
            make=_layers(passes_results=False),
            size=100,
            quick=30,
        ),
        Workload(
            name="layers-milestones",
            text="the same order, by milestones between the layers",
            make=_layers(passes_results=False, milestones=True),
            size=100,
            quick=30,
        ),
        Workload(
            name="random",
            text="random DAG, up to four parents each",
            make=_random,
            size=1_000,
            quick=300,
        ),
        Workload(
            name="mixed",
            text="chains, fan-ins and single jobs, some of which fail once",
            make=_mixed,
            size=1_200,
            quick=240,
        ),
    )
}
