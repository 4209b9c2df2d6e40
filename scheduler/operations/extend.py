"""Dependencies added to jobs that exist already and were not handed out yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from broker_queue.errors import Conflict, Invalid, cycle_error
from broker_queue.job import Condition, State
from scheduler.operations.transaction import Transaction
from scheduler.rules.edges import weigh
from scheduler.rules.lifecycle import Block, Hold, was_handed_out
from scheduler.rules.references import check_places
from scheduler.rules.submission import (
    Plan,
    PlannedExtension,
    PlannedReference,
    Target,
    id_text,
    too_many,
)
from scheduler.store import jobs, queries, submits
from scheduler.store.jobs import LoadedJob
from scheduler.store.submits import NewEdge, NewReference

CYCLE_SEARCH_BATCH = 1_000
"""Jobs whose dependents are looked up at a time."""


class Parent(NamedTuple):
    """A job that an edge leads to, and the state in which the edge finds it."""

    key: int
    state: State


class Prepared(NamedTuple):
    """An extension that can be stored; only edges and references that are new."""

    job: LoadedJob
    dependencies: dict[Target, Condition]
    references: list[PlannedReference]
    edge_count: int
    reference_count: int


def prepare(
    transaction: Transaction, plan: Plan, external: Mapping[bytes, LoadedJob]
) -> list[Prepared]:
    """Check the extensions of a plan.

    Raises:
        Conflict: a job was handed out, or has ended, already.
        Cycle: jobs would wait for each other.
        Invalid: a reference has no place in the args.
    """
    found = []
    added = _added_children(plan, external)
    for extension in plan.extensions:
        path = extension.path
        job = external[extension.id]
        prepared = _only_what_is_new(transaction, job, extension, external)
        if prepared.dependencies or prepared.references:
            _refuse_handed_out(job, f"{path}.job")
            wanted = _existing_parents(prepared.dependencies, plan, external)
            _refuse_cycle(transaction, job.facts.key, wanted, added)
        if prepared.references:
            _check_places(transaction, prepared, path)
        limit = transaction.limits.max_dependencies
        if prepared.edge_count + len(prepared.dependencies) > limit:
            count = prepared.edge_count + len(prepared.dependencies)
            raise too_many(f"{path}.dependencies", count, limit)
        found.append(prepared)
    return found


def perform(
    transaction: Transaction, prepared: Prepared, standing: Callable[[Target, int], Parent]
) -> None:
    """Store the new edges; a job that was ready waits again if one of them is open."""
    key = prepared.job.facts.key
    edges, references = [], []
    standings = []
    for position, (target, condition) in enumerate(prepared.dependencies.items()):
        parent_key, state = standing(target, key)
        edges.append(NewEdge(key, parent_key, prepared.edge_count + position, condition))
        standings.append((parent_key, condition, state))
    for position, reference in enumerate(prepared.references):
        parent_key = standing(reference.target, key).key
        number = prepared.reference_count + position
        references.append(NewReference(key, number, parent_key, reference.at, reference.pointer))
    submits.insert_edges(transaction.connection, edges)
    submits.insert_references(transaction.connection, references)
    counts = (prepared.edge_count + len(edges), prepared.reference_count + len(references))
    submits.count_dependencies(transaction.connection, {key: counts})
    transaction.load([key])
    weighed = weigh(standings)
    if weighed.broken is not None:
        transaction.apply(key, Block(weighed.broken))
    elif weighed.open:
        transaction.apply(key, Hold(weighed.open))


def _only_what_is_new(
    transaction: Transaction,
    job: LoadedJob,
    extension: PlannedExtension,
    external: Mapping[bytes, LoadedJob],
) -> Prepared:
    """Leave out what the job has already, so that a repeated request changes nothing."""
    key = job.facts.key
    edges = submits.load_edges_of(transaction.connection, [key]).get(key, [])
    references = submits.load_references_of(transaction.connection, [key]).get(key, [])
    conditions = {edge.parent_key: edge.condition for edge in edges}
    places = {(item.place, item.parent_key, item.pointer) for item in references}

    def key_of(target: Target) -> int | None:
        known = None if isinstance(target, int) else external.get(target)
        return None if known is None else known.facts.key

    for target, condition in extension.dependencies.items():
        before = conditions.get(key_of(target) or 0)
        if before is not None and before is not condition:
            raise Conflict(
                f"job {id_text(extension.id)} depends on {_name(target)} already, "
                f"with the condition {before}",
                {"job": id_text(extension.id)},
            )
    return Prepared(
        job,
        {t: c for t, c in extension.dependencies.items() if key_of(t) not in conditions},
        [r for r in extension.references if (r.at, key_of(r.target), r.pointer) not in places],
        len(edges),
        len(references),
    )


def _refuse_handed_out(job: LoadedJob, field: str) -> None:
    facts = job.facts
    if facts.state.is_final or was_handed_out(facts):
        state = facts.state if facts.state.is_final else "handed out"
        raise Conflict(
            f"{field}: job {id_text(job.identity.id)} is {state} already; dependencies can be "
            "added only before that",
            {"field": field, "job": id_text(job.identity.id), "state": facts.state.value},
        )


def _refuse_cycle(
    transaction: Transaction, start: int, wanted: set[int], added: Mapping[int, list[int]]
) -> None:
    """Refuse if one of the `wanted` jobs depends on `start`, in the database or by `added`."""
    came_from: dict[int, int] = {start: start}
    border = [start]
    while border and wanted:
        hit = next((key for key in border if key in wanted), None)
        if hit is not None:
            raise cycle_error(_path(transaction, came_from, start, hit))
        found = [(parent, child) for parent in border for child in added.get(parent, ())]
        for chunk in jobs.chunks(border, CYCLE_SEARCH_BATCH):
            edges = jobs.load_edges(transaction.connection, chunk)
            found += [(edge.parent_key, edge.child_key) for edge in edges]
        border = []
        for parent, child in found:
            if child not in came_from:
                came_from[child] = parent
                border.append(child)


def _added_children(plan: Plan, external: Mapping[bytes, LoadedJob]) -> dict[int, list[int]]:
    """Return for each existing job those that come to depend on it by extensions of this plan."""
    added: dict[int, list[int]] = {}
    for extension in plan.extensions:
        child = external[extension.id].facts.key
        for parent in _existing_parents(extension.dependencies, plan, external):
            added.setdefault(parent, []).append(child)
    return added


def _existing_parents(
    targets: Iterable[Target], plan: Plan, external: Mapping[bytes, LoadedJob]
) -> set[int]:
    """Return the existing jobs that these targets are or, through new jobs, depend on.

    New jobs can be reached only through this plan, so what they depend on stands in for them.
    """
    return {external[identity].facts.key for identity in _reachable(targets, plan)}


def _reachable(targets: Iterable[Target], plan: Plan) -> set[bytes]:
    """Return the existing jobs that `targets` are or, through new jobs, depend on."""
    found: set[bytes] = set()
    seen: set[int] = set()
    pending = list(targets)
    while pending:
        target = pending.pop()
        if isinstance(target, bytes):
            found.add(target)
        elif target not in seen:
            seen.add(target)
            pending.extend(plan.jobs[target].dependencies)
    return found


def _path(
    transaction: Transaction, came_from: Mapping[int, int], start: int, end: int
) -> list[str]:
    keys = [end]
    while keys[-1] != start:
        keys.append(came_from[keys[-1]])
    loaded = jobs.load(transaction.connection, set(keys))
    names = [id_text(loaded[key].identity.id) for key in keys]
    return [names[-1], *names]


def _check_places(transaction: Transaction, prepared: Prepared, path: str) -> None:
    key = prepared.job.facts.key
    before = submits.load_references_of(transaction.connection, [key]).get(key, [])
    places = [(item.place, "references") for item in before]
    places += [
        (reference.at, f"{path}.references[{index}].at")
        for index, reference in enumerate(prepared.references)
    ]
    if prepared.job.facts.is_milestone:
        raise Invalid(
            f"{path}.references: a milestone takes no args", {"field": f"{path}.references"}
        )
    check_places(queries.args_of(transaction.connection, key), places)


def _name(target: Target) -> str:
    return f"jobs[{target}]" if isinstance(target, int) else id_text(target)
