"""Submits too large for one message, in parts. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from broker_queue.errors import TooLarge
from broker_queue.protocol.messages import Extension, Message, NewJob, Submit, encode

PART_BYTES = 4 << 20
"""RabbitMQ 4 takes 16 MiB a message. Smaller parts let other messages through in between."""

MAX_BYTES = 15 << 20
"""Of one job: what remains of 16 MiB is for the rest of the message."""


def in_parts(submit: Submit) -> list[Submit]:
    """Return `submit` alone if it fits one message, else its parts in order.

    Jobs come before extensions, and positions count through all parts.

    Raises:
        TooLarge: one job alone does not fit a message.
    """
    if len(encode(submit)) <= PART_BYTES:
        return [submit]
    pieces = list(_pieces([*submit.jobs, *submit.extend]))
    return [
        Submit(
            jobs=[item for item in piece if isinstance(item, NewJob)],
            extend=[item for item in piece if isinstance(item, Extension)],
            graph=submit.graph,
            part=number,
            parts=len(pieces),
        )
        for number, piece in enumerate(pieces, start=1)
    ]


def _pieces(items: list[Message]) -> Iterator[list[Message]]:
    piece: list[Message] = []
    filled = 0
    for position, item in enumerate(items):
        size = len(encode(item)) + 1
        if size > MAX_BYTES:
            raise TooLarge(
                f"jobs[{position}] has {size} bytes, more than a message to the broker may have; "
                "pass a URL or key to large data, or put milestones between many dependencies",
                {"field": f"jobs[{position}]", "size": size, "limit": MAX_BYTES},
            )
        if piece and filled + size > PART_BYTES:
            yield piece
            piece, filled = [], 0
        piece.append(item)
        filled += size
    yield piece
