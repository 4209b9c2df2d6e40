"""Requests without the property ``type``: the body is a job to be enqueued, or several.

So a job can be enqueued with whatever publishes a message, and with nothing of ours.
"""

from __future__ import annotations

import msgspec

from broker_queue.protocol.fields import Id
from broker_queue.protocol.messages import Extension, NewGraph, NewJob, StrictMessage

BARE = ""
"""Stands for the operation, where one is named."""


class BareJob(NewJob):
    """A `NewJob` that needs no id. Alone in a message, it needs a `type`."""

    id: Id | None = None  # type: ignore[assignment]  # it gets one before it is taken for a NewJob


class BareGraph(NewGraph):
    """A `NewGraph` that needs no id."""

    id: Id | None = None  # type: ignore[assignment]  # as above


class BareSubmit(StrictMessage):
    """A `submit` in one message whose jobs need no ids."""

    jobs: list[BareJob] = msgspec.field(default_factory=list)
    extend: list[Extension] = msgspec.field(default_factory=list)
    graph: BareGraph | None = None
