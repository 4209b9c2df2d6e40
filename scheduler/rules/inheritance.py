"""Retry by hand: what the copy of a job depends on in place of what the original depended on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker_queue.errors import Invalid
from broker_queue.job import Condition, State
from scheduler.rules.edges import Standing, combine, judge


class Inherited(NamedTuple):
    """The dependencies of a copy."""

    conditions: dict[int, Condition]
    """By the key of the dependency, in the order of the original's."""
    successors: dict[int, int]
    """Dependency of the original → the one that stands in for it; its results are taken there."""


def inherit(
    dependencies: Sequence[tuple[int, Condition, State]],
    copies: Mapping[int, int],
    latest: Mapping[int, int],
) -> Inherited:
    """Return what a copy depends on.

    A dependency that is copied in the same request is followed to its copy. One that was retried
    before is followed to its latest copy, unless the way in which it ended is what the condition
    wants. Two that come to be the same count once; where no end could satisfy both, the one that
    was retried is not followed.

    Args:
        dependencies: of the original: key, condition, state.
        copies: key → key of the copy, of all that this request copies.
        latest: key → key of the latest copy, of all that were retried before.
    """
    successors: dict[int, int] = {}
    conditions: dict[int, Condition] = {}
    for key, condition, state in dependencies:
        stays = key not in latest or judge(condition, state) is Standing.SATISFIED
        if key in copies or stays:
            successors[key] = copies.get(key, key)
            conditions[successors[key]] = condition
    for key, condition, _ in dependencies:
        if key not in successors:
            target = copies.get(latest[key], latest[key])
            successors[key] = _join(conditions, key, target, condition)
    order = dict.fromkeys(successors[key] for key, _, _ in dependencies)
    return Inherited({key: conditions[key] for key in order}, successors)


def _join(conditions: dict[int, Condition], key: int, target: int, condition: Condition) -> int:
    """Add an edge to `target`, or to `key` if it contradicts one that is there; return which."""
    try:
        known = conditions.get(target, condition)
        conditions[target] = combine(known, condition, "dependencies")
    except Invalid:
        conditions[key] = condition
        return key
    return target
