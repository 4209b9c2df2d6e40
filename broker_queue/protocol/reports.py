"""What workers report of the jobs they were given, and what a report is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from broker_queue.job import FailureCode, State
from broker_queue.protocol.fields import Milliseconds, Seconds
from broker_queue.protocol.messages import Extension, Message, NewJob, Progress, StrictMessage, null


class Started(StrictMessage):
    """Report ``started``."""

    worker: Annotated[str, Meta(max_length=150)] | None = None


class Lease(StrictMessage):
    """Reports ``lease`` and ``heartbeat``: a worker that runs a job is heard of, and will be again.

    Once a ``lease`` is answered `accepted`, the worker acknowledges the job's message. From then on
    it counts as lost when it says nothing for as long as the last answer granted.
    """

    worker: Annotated[str, Meta(max_length=150)] | None = None


class Failed(StrictMessage):
    """Report ``failed``. `delay` replaces the job's back-off for this once."""

    code: Annotated[str, Meta(min_length=1, max_length=200)] = FailureCode.FAILED
    message: Annotated[str, Meta(max_length=20_000)] = ""
    details: Raw | UnsetType = UNSET
    retry: bool = True
    delay: Seconds | None = None


class Progressed(Progress, forbid_unknown_fields=True):
    """Report ``progress``: how far a running job is; the last one is kept."""


class Released(StrictMessage):
    """Report ``released``: handed back unrun, or stopped; not counted as an attempt."""

    reason: Annotated[str, Meta(max_length=1000)] = ""


class FinishedWithJobs(StrictMessage):
    """Report ``finished_with_jobs``: the result, and jobs that exist from this moment on."""

    result: Raw = msgspec.field(default_factory=null)
    jobs: list[NewJob] = msgspec.field(default_factory=list)
    extend: list[Extension] = msgspec.field(default_factory=list)


SmallReport: TypeAlias = Literal[
    "finished", "failed", "started", "progress", "released", "heartbeat"
]
"""Reports that may be in a ``batch``."""


class BatchItem(StrictMessage):
    """One small report inside a ``batch``.

    Without a body, or with `null`, it is as the report's own message without a body: a `finished`
    has the result `null`, the others no fields.
    """

    token: Annotated[str, Meta(max_length=255)]
    type: SmallReport = "finished"
    started: Milliseconds | None = None
    body: Raw | UnsetType = UNSET


class ReportAnswer(Message):
    """Answer to a report that asked for one; its property ``type`` is the verdict."""

    state: State | None = None
    lease: Seconds | None = None
    """Of an accepted ``lease`` or ``heartbeat``: seconds within which the next must come."""


REPORTS: dict[str, Any] = {
    "finished": Raw,
    "finished_with_jobs": FinishedWithJobs,
    "failed": Failed,
    "started": Started,
    "progress": Progressed,
    "released": Released,
    "lease": Lease,
    "heartbeat": Lease,
    "batch": list[BatchItem],
}
"""Report (the message's property ``type``; none means ``finished``) to the model of its body."""
