"""Ready jobs moved into the windows of their queues, to be published after the commit."""

from __future__ import annotations

from collections.abc import Collection

from broker_queue.protocol.names import MAX_DEPENDENCIES_IN_HEADER
from scheduler.operations.transaction import Transaction
from scheduler.store import dispatch
from scheduler.store.dispatch import Room


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
    transaction.effects.handouts += handouts
    transaction.effects.dependency_ids |= dispatch.dependency_ids(transaction.connection, named)
