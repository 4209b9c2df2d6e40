"""Edges: what a condition accepts, what the end of a job does to its dependents, and cycles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from broker_queue.errors import Invalid
from broker_queue.job import FINAL_STATES, Condition, State

SATISFIED_BY: Mapping[Condition, frozenset[State]] = {
    Condition.SUCCESS: frozenset({State.FINISHED}),
    Condition.FAILURE: frozenset({State.FAILED}),
    Condition.ANY: FINAL_STATES,
}
"""The final states of a dependency that satisfy an edge; all others break it."""


class Standing(Enum):
    """What has become of an edge."""

    OPEN = "open"
    """Its dependency has not ended."""
    SATISFIED = "satisfied"
    BROKEN = "broken"
    """Its dependency ended in a way that the condition does not accept."""


def judge(condition: Condition, dependency: State) -> Standing:
    """Return where an edge stands, given the state of the job it depends on."""
    return _STANDINGS[condition, dependency]


def _stand(condition: Condition, dependency: State) -> Standing:
    if dependency not in FINAL_STATES:
        return Standing.OPEN
    return Standing.SATISFIED if dependency in SATISFIED_BY[condition] else Standing.BROKEN


_STANDINGS = {
    (condition, state): _stand(condition, state) for condition in Condition for state in State
}


class Weighed(NamedTuple):
    """What the edges of a job come to."""

    open: int
    broken: int | None
    """The first dependency that broke its edge."""


def weigh(edges: Iterable[tuple[int, Condition, State]]) -> Weighed:
    """Return what edges come to, each given as dependency (by key), condition and its state."""
    open_edges, broken = 0, None
    for parent_key, condition, state in edges:
        standing = judge(condition, state)
        open_edges += standing is Standing.OPEN
        if standing is Standing.BROKEN and broken is None:
            broken = parent_key
    return Weighed(open_edges, broken)


def combine(first: Condition, second: Condition, field: str) -> Condition:
    """Return the one condition that says what two edges to the same job say together.

    Raises:
        Invalid: nothing satisfies both (success and failure).
    """
    if first is second or second is Condition.ANY:
        return first
    if first is Condition.ANY:
        return second
    raise Invalid(
        f"{field}: names the same job with the conditions {first} and {second} "
        "(a result reference means success); no end of it satisfies both",
        {"field": field},
    )


def find_cycle(dependencies: Sequence[Iterable[int]]) -> list[int] | None:
    """Return a cycle among nodes ``0 … n-1`` as a path that ends where it began, or None.

    Args:
        dependencies: for each node the nodes that it depends on.
    """
    if all(parent < child for child, parents in enumerate(dependencies) for parent in parents):
        return None  # every edge points back: the usual way in which people write graphs
    unvisited, on_path, done = 0, 1, 2
    marks = [unvisited] * len(dependencies)
    for start in range(len(dependencies)):
        if marks[start] != unvisited:
            continue
        path = [start]
        branches = [iter(dependencies[start])]
        marks[start] = on_path
        while path:
            following = next((node for node in branches[-1] if marks[node] != done), None)
            if following is None:
                marks[path.pop()] = done
                branches.pop()
            elif marks[following] == on_path:
                cycle = path[path.index(following) :]
                return [*reversed(cycle), cycle[-1]]
            else:
                marks[following] = on_path
                path.append(following)
                branches.append(iter(dependencies[following]))
    return None
