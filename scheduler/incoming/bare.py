"""Requests without the property ``type``, made definite: what has no id gets one."""

from __future__ import annotations

from uuid import UUID, uuid5

import msgspec

from broker_queue.errors import Invalid
from broker_queue.protocol.bare import BareJob, BareSubmit
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import NewJob, Submit
from broker_queue.protocol.operations import REQUESTS

OF_SEVERAL = set(BareSubmit.__struct_fields__)

SHAPES = (
    'a request without the property type is a job, {"type": "resize", "args": {"width": 100}}, or '
    'several, {"jobs": [{"type": "resize"}, {"type": "show", "dependencies": [0]}]}; any other '
    f"names its operation in the property type: {', '.join(REQUESTS)}"
)


def read_bare(body: bytes, message_id: str) -> NewJob | Submit:
    """Return the job in a request without a type, or the submit.

    The id of a single job is that of its message; those of several, and of a graph, are made of it
    (UUIDv5). So a message that comes again, or is read again, enqueues nothing a second time.

    Args:
        body: as sent.
        message_id: a UUID.

    Raises:
        Invalid: neither; the text shows what would be.
    """
    try:
        members = decode(body or b"{}", dict[str, msgspec.Raw])
        if members.keys() & OF_SEVERAL:
            return _submit(decode(body, BareSubmit), UUID(message_id))
        job = decode(body or b"{}", BareJob)
        if job.type is None:
            raise Invalid("type: a job needs one", {"field": "type"})
    except Invalid as error:
        raise Invalid(f"{error.message}; {SHAPES}", error.details) from None
    job.id = job.id or message_id
    return job


def _submit(bare: BareSubmit, message_id: UUID) -> Submit:
    for position, job in enumerate(bare.jobs):
        job.id = job.id or str(uuid5(message_id, str(position)))
    if bare.graph is not None:
        bare.graph.id = bare.graph.id or str(uuid5(message_id, "graph"))
    return Submit(jobs=list(bare.jobs), extend=bare.extend, graph=bare.graph)
