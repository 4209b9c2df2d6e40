"""Ready jobs moved into the windows of their queues, to be published after the commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from broker_queue.protocol.names import MAX_DEPENDENCIES_IN_HEADER
from scheduler.operations.transaction import Transaction
from scheduler.rules.references import Parts, PointerError, fill_in
from scheduler.store import dispatch
from scheduler.store.dispatch import Handout, ReferenceRow, Room

FEW_REFERENCES = 1_000
"""Of one job."""

REFERENCES_AT_ONCE = 10_000
"""Of all jobs of one transaction: some 20 ms."""

SHORT_PARTS = 64 << 10
"""Bytes of what goes into the args of one job."""

FILLED_BYTES = 4 << 20
"""Of what goes into the args of all jobs of one transaction."""

SHORT_RESULTS = 1 << 20
"""Bytes of all results that one transaction reads for this."""


def hand_out(transaction: Transaction, window: int, room: Room) -> None:
    """Fill the windows of the queues that this transaction touched, with what there is `room` for.

    What is left over is named in ``effects.unfilled``.
    """
    transaction.flush()
    if transaction.queues:
        handouts, left = dispatch.enter_window(
            transaction.connection, transaction.queues, window, room, transaction.moves
        )
        transaction.effects.unfilled |= left
        _add(transaction, handouts)
    transaction.flush_moves()


def hand_out_again(transaction: Transaction, keys: Collection[int], room: Room) -> None:
    """Publish once more those of `keys` that the broker has still not confirmed.

    What there is no `room` for is named in ``effects.unpublished``.
    """
    just_now = {item.key for item in transaction.effects.handouts}
    again = set(keys) - just_now
    found, left = dispatch.still_publishing(transaction.connection, again, room)
    transaction.effects.unpublished |= left
    _add(transaction, dispatch.load_republished(transaction.connection, found))


def _add(transaction: Transaction, handouts: Sequence[Handout]) -> None:
    """Add what the messages of these jobs need to the effects."""
    named = [
        item.key for item in handouts if 0 < item.dependency_count <= MAX_DEPENDENCIES_IN_HEADER
    ]
    transaction.effects.handouts += _filled(transaction, handouts)
    transaction.effects.dependency_ids |= dispatch.dependency_ids(transaction.connection, named)


def _filled(transaction: Transaction, handouts: Sequence[Handout]) -> Sequence[Handout]:
    """Fill in the results that some jobs refer to, where that is little: it saves them a read apart.

    What is more, or wrong, is left as it is, to be read beside the writer.
    """
    left = REFERENCES_AT_ONCE
    wanted = []
    for item in handouts:
        if 0 < item.reference_count <= min(left, FEW_REFERENCES):
            left -= item.reference_count
            wanted.append(item.key)
    if not wanted:
        return handouts
    references = dispatch.references(transaction.connection, wanted)
    results = _results(
        transaction, {row.parent_key for rows in references.values() for row in rows}
    )
    if results is None:
        return handouts
    room = FILLED_BYTES
    filled = []
    for item in handouts:
        if item.key in references and room > 0:
            whole = _fill(item, references[item.key], results)
            room -= len(whole.args) - len(item.args)
            filled.append(whole)
        else:
            filled.append(item)
    return filled


def _results(transaction: Transaction, keys: Collection[int]) -> Mapping[int, bytes] | None:
    """Return the results of these jobs: of many, they have just come. None if they are long."""
    missing = [key for key in keys if key not in transaction.results]
    if not missing:
        return transaction.results
    stored = dispatch.short_results(transaction.connection, missing, SHORT_RESULTS)
    return None if stored is None else {**transaction.results, **stored}


def _fill(
    item: Handout, references: Sequence[ReferenceRow], results: Mapping[int, bytes]
) -> Handout:
    parts = Parts(SHORT_PARTS)
    try:
        for row in references:
            result = results.get(row.parent_key, b"null")  # that of a milestone
            parts.take(result, [(row.place, row.pointer)])
        return item._replace(args=fill_in(item.args, parts.found), reference_count=0)
    except PointerError:
        return item
