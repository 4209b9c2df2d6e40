"""Ready jobs moved into the windows of their queues, to be published after the commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from broker_queue.protocol.names import MAX_DEPENDENCIES_IN_HEADER
from scheduler.operations.transaction import Transaction
from scheduler.rules.references import Parts, PointerError, fill_in
from scheduler.store import dispatch
from scheduler.store.database import Connection
from scheduler.store.dispatch import Handout, ReferenceRow, Room

FEW_REFERENCES = 16
"""Of one job."""

SHORT_PARTS = 16 << 10
"""Bytes of what goes into the args of one job."""

SHORT_RESULTS = 1 << 20
"""Bytes of all results that one transaction reads for this."""


def hand_out(transaction: Transaction, window: int, room: Room) -> None:
    """Fill the windows of the queues that this transaction touched, with what there is `room` for.

    What is left over is named in ``effects.unfilled``.
    """
    transaction.flush()
    if transaction.queues:
        keys, left = dispatch.enter_window(transaction.connection, transaction.queues, window, room)
        transaction.effects.unfilled |= left
        collect(transaction, keys)


def hand_out_again(transaction: Transaction, keys: Collection[int], room: Room) -> None:
    """Publish once more those of `keys` that the broker has still not confirmed.

    What there is no `room` for is named in ``effects.unpublished``.
    """
    just_now = {item.key for item in transaction.effects.handouts}
    again = set(keys) - just_now
    found, left = dispatch.still_publishing(transaction.connection, again, room)
    transaction.effects.unpublished |= left
    collect(transaction, found, republished=True)


def collect(transaction: Transaction, keys: Collection[int], *, republished: bool = False) -> None:
    """Add what the messages of these jobs need to the effects."""
    handouts = dispatch.load_handouts(transaction.connection, keys, republished=republished)
    named = [
        item.key for item in handouts if 0 < item.dependency_count <= MAX_DEPENDENCIES_IN_HEADER
    ]
    transaction.effects.handouts += _filled(transaction.connection, handouts)
    transaction.effects.dependency_ids |= dispatch.dependency_ids(transaction.connection, named)


def _filled(connection: Connection, handouts: Sequence[Handout]) -> list[Handout]:
    """Fill in the results that some jobs refer to, where that is little: it saves them a read apart.

    What is more, or wrong, is left as it is, to be read beside the writer.
    """
    wanted = [item.key for item in handouts if 0 < item.reference_count <= FEW_REFERENCES]
    references = dispatch.references(connection, wanted) if wanted else {}
    parents = {row.parent_key for rows in references.values() for row in rows}
    results = dispatch.short_results(connection, parents, SHORT_RESULTS) if parents else None
    if results is None:
        return list(handouts)
    return [_fill(item, references.get(item.key, ()), results) for item in handouts]


def _fill(
    item: Handout, references: Sequence[ReferenceRow], results: Mapping[int, bytes]
) -> Handout:
    if not references:
        return item
    parts = Parts(SHORT_PARTS)
    try:
        for row in references:
            result = results.get(row.parent_key, b"null")  # that of a milestone
            parts.take(result, [(row.place, row.pointer)])
        return item._replace(args=fill_in(item.args, parts.found), reference_count=0)
    except PointerError:
        return item
