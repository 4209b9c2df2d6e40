"""The end of a job told to its dependents: edges satisfied, jobs released or skipped, in turn.

Bounded: a transaction follows at most `max_edges_told` edges. Ended jobs whose dependents were not
all told stand in the frontier, in the database, with the last child told; the next transactions
go on from there, so a fan-out of 100,000 stalls nobody. Work is proportional to the edges of the
jobs that ended, never to the size of a graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from broker_queue.job import State
from scheduler.operations.transaction import Transaction
from scheduler.rules.edges import Standing, judge
from scheduler.rules.lifecycle import Block, Satisfy
from scheduler.store import jobs
from scheduler.store.jobs import OpenEdge

FRONTIER_BATCH = 500
"""Ended jobs taken up from the frontier in one transaction."""


def settle(transaction: Transaction, budget: int | None = None) -> None:
    """Tell the dependents of the jobs that this transaction ended, and theirs in turn; then flush."""
    if budget is None:
        budget = transaction.limits.max_edges_told
    while transaction.ended:
        parents, transaction.ended = sorted(set(transaction.ended)), []
        if budget <= 0:
            _postpone(transaction, dict.fromkeys(parents, 0))
            break
        edges = jobs.load_edges(transaction.connection, parents, budget)
        if len(edges) == budget:
            _postpone(transaction, _reached(edges, parents))
        budget -= len(edges)
        tell(transaction, edges)
    transaction.flush()


def settle_frontier(transaction: Transaction) -> None:
    """Go on with jobs that ended in earlier transactions; sets ``effects.more`` if some remain."""
    connection = transaction.connection
    budget = transaction.limits.max_edges_told
    frontier = jobs.load_frontier(connection, FRONTIER_BATCH)
    if not frontier:
        return
    transaction.load([parent for parent, _ in frontier])
    begun = [(parent, after) for parent, after in frontier if after]
    fresh = [parent for parent, after in frontier if not after]
    for parent, after in begun:
        edges = jobs.load_edges_after(connection, parent, after, budget)
        budget -= len(edges)
        if budget <= 0:
            jobs.write_frontier(connection, {parent: edges[-1].child_key if edges else after})
        else:
            jobs.leave_frontier(connection, [parent])
        tell(transaction, edges)
        if budget <= 0:
            break
    if budget > 0 and fresh:
        edges = jobs.load_edges(connection, fresh, budget)
        reached = _reached(edges, fresh) if len(edges) == budget else {}
        jobs.leave_frontier(connection, [parent for parent in fresh if parent not in reached])
        _postpone(transaction, reached)
        budget -= len(edges)
        tell(transaction, edges)
    settle(transaction, budget)
    transaction.effects.more = True


def tell(transaction: Transaction, edges: Sequence[OpenEdge]) -> None:
    """Apply what these edges, whose parents have ended, mean to their children."""
    satisfied: Counter[int] = Counter()
    broken: dict[int, int] = {}
    for parent, child, condition in edges:
        standing = judge(condition, transaction.facts(parent).state)
        if standing is Standing.SATISFIED:
            satisfied[child] += 1
        else:
            broken.setdefault(child, parent)
    children = satisfied.keys() | broken.keys()
    transaction.load(children)
    for child in sorted(children):
        if transaction.facts(child).state is not State.WAITING:
            continue
        if child in broken:
            transaction.apply(child, Block(broken[child]))
        else:
            transaction.apply(child, Satisfy(satisfied[child]))


def _postpone(transaction: Transaction, reached: dict[int, int]) -> None:
    """Leave the rest to the next transactions; of a wide fan, most jobs have no dependents."""
    parents = jobs.with_dependents(transaction.connection, reached)
    jobs.write_frontier(transaction.connection, {parent: reached[parent] for parent in parents})
    transaction.effects.more = transaction.effects.more or bool(parents)


def _reached(edges: Sequence[OpenEdge], parents: Sequence[int]) -> dict[int, int]:
    """Return how far the telling came when the edges, in order, were cut off at the budget."""
    last = edges[-1]
    return {last.parent_key: last.child_key} | {
        parent: 0 for parent in parents if parent > last.parent_key
    }
