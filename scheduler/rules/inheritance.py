"""Retry by hand: what the copy of a job depends on in place of what the original depended on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from broker_queue.errors import Invalid
from broker_queue.job import Condition, State
from scheduler.rules.edges import Standing, combine, find_cycle, judge


class Inherited(NamedTuple):
    """The dependencies of a copy."""

    conditions: dict[int, Condition]
    """By the key of the dependency, in the order of the original's."""
    successors: dict[int, int]
    """Dependency of the original → the one that stands in for it; its results are taken there."""


Dependency = tuple[int, Condition, State]
"""Of an original: key, condition, state."""


def inherit(
    dependencies: Mapping[int, Sequence[Dependency]],
    copies: Mapping[int, int],
    latest: Mapping[int, int],
) -> dict[int, Inherited]:
    """Return what each copy depends on, by the key of its original.

    A dependency that is copied in the same request is followed to its copy. One that was retried
    before is followed to its latest copy, unless the way in which it ended is what the condition
    wants. Two that come to be the same count once; where no end could satisfy both, the one that
    was retried is not followed. Nor is it where the copies would then wait for each other.

    Args:
        dependencies: of each job that is copied.
        copies: key → key of the copy, of all that this request copies.
        latest: key → key of the latest copy, of all that were retried before.
    """
    not_followed: dict[int, set[int]] = {}
    while True:
        found = {
            original: _inherit(listed, copies, latest, not_followed.get(original, set()))
            for original, listed in dependencies.items()
        }
        culprit = _followed_in_a_cycle(found, copies)
        if culprit is None:
            return found
        original, key = culprit
        not_followed.setdefault(original, set()).add(key)


def _inherit(
    dependencies: Sequence[Dependency],
    copies: Mapping[int, int],
    latest: Mapping[int, int],
    not_followed: Collection[int],
) -> Inherited:
    successors: dict[int, int] = {}
    conditions: dict[int, Condition] = {}
    for key, condition, state in dependencies:
        stays = key not in latest or key in not_followed
        if key in copies or stays or judge(condition, state) is Standing.SATISFIED:
            successors[key] = copies.get(key, key)
            conditions[successors[key]] = condition
    for key, condition, _ in dependencies:
        if key not in successors:
            target = copies.get(latest[key], latest[key])
            successors[key] = _join(conditions, key, target, condition)
    order = dict.fromkeys(successors[key] for key, _, _ in dependencies)
    return Inherited({key: conditions[key] for key in order}, successors)


def _followed_in_a_cycle(
    found: Mapping[int, Inherited], copies: Mapping[int, int]
) -> tuple[int, int] | None:
    """Return a job and its dependency that was followed into a cycle of copies, if there is one.

    Without those that were followed, copies depend on each other as their originals do.
    """
    originals = list(found)
    number = {copies[original]: index for index, original in enumerate(originals)}
    cycle = find_cycle(
        [[number[key] for key in it.conditions if key in number] for it in found.values()]
    )
    for parent, child in pairwise(cycle or ()):
        for key, successor in found[originals[child]].successors.items():
            if successor == copies[originals[parent]] and key not in copies:
                return originals[child], key
    return None


def _join(conditions: dict[int, Condition], key: int, target: int, condition: Condition) -> int:
    """Add an edge to `target`, or to `key` if it contradicts one that is there; return which."""
    try:
        known = conditions.get(target, condition)
        conditions[target] = combine(known, condition, "dependencies")
    except Invalid:
        conditions[key] = condition
        return key
    return target
