"""Every message body as a typed model; JSON Schemas are generated from these.

Opaque JSON (args, results, details) is `msgspec.Raw`: the bytes pass through as they came, so that
numbers beyond 64 bits and the sender's own formatting survive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from broker_queue.job import Condition, State
from broker_queue.protocol.fields import (
    DEFAULT_PRIORITY,
    TEN_YEARS,
    Channel,
    Id,
    JobType,
    Label,
    Milliseconds,
    Pointer,
    Priority,
    Seconds,
    Target,
)


def null() -> Raw:
    """Return the JSON text of nothing, the default of args and results."""
    return Raw(b"null")


class Message(Struct, omit_defaults=True, kw_only=True):
    """Base of all bodies: defaults are left out.

    Whoever reads an answer, an event or a control message passes over fields that it does not know:
    a later scheduler may have more of them.
    """


class StrictMessage(Message, forbid_unknown_fields=True):
    """Base of what the scheduler reads: an unknown field is refused, it may be a misspelt one."""


class Dependency(StrictMessage):
    """An edge: the job that has it waits for `job`."""

    job: Target
    condition: Condition = Condition.SUCCESS


class Reference(StrictMessage):
    """Put the part of a result that `pointer` names in place of what `at` names in the args."""

    at: Pointer
    job: Target
    pointer: Pointer = ""


class Backoff(StrictMessage):
    """How long to wait before the next attempt: ``initial * factor ** (attempt - 1)``."""

    initial: Seconds = 1.0
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    maximum: Seconds = 3600.0
    jitter: Annotated[float, Meta(ge=0, le=1, description="share of the wait left to chance")] = 0.2


class NewJob(StrictMessage):
    """A job as a client submits it. Without a `type` it is a milestone: it needs no worker."""

    id: Id
    type: JobType | None = None
    args: Raw = msgspec.field(default_factory=null)
    dependencies: list[Target | Dependency] = []
    references: list[Reference] = []
    name: Label | None = None
    channel: Channel = ""
    priority: Priority = DEFAULT_PRIORITY
    max_attempts: Annotated[int, Meta(ge=1, le=1000)] = 1
    backoff: Backoff | None = None
    timeout: Annotated[float, Meta(gt=0, le=TEN_YEARS)] | None = None
    delay: Seconds | None = None
    available_at: Milliseconds | None = None
    traceparent: Annotated[str, Meta(max_length=200)] | None = None


class Extension(StrictMessage):
    """Dependencies added to a job that has not been handed out yet."""

    job: Target
    dependencies: list[Target | Dependency] = []
    references: list[Reference] = []


class NewGraph(StrictMessage):
    """The graph that the jobs of a submit belong to. An id that exists already is extended."""

    id: Id
    name: Label | None = None


class Submit(StrictMessage):
    """Request ``submit``: jobs and edges, all or nothing; jobs may name each other by position.

    A submit too large for one message goes in `parts`, each with the same graph id and its own
    number `part` from 1; positions count through all parts. It exists from the last part on.
    """

    jobs: list[NewJob] = []
    extend: list[Extension] = []
    graph: NewGraph | None = None
    part: Annotated[int, Meta(ge=1, le=10_000)] = 1
    parts: Annotated[int, Meta(ge=1, le=10_000)] = 1


class Submitted(Message):
    """Answer to ``submit``; ``complete`` is false while parts are missing.

    `ids` of the jobs, in order, only where they need not be in the request: in one without a type.
    """

    jobs: int
    existed: int = 0
    graph: Id | None = None
    complete: bool = True
    ids: list[Id] = []


class GetStatus(StrictMessage):
    """Request ``status``. What does not fit one answer is named in `more`, to be asked next."""

    jobs: Annotated[list[Id], Meta(min_length=1, max_length=10_000)]
    dependencies: bool = False
    args: bool = False
    result: bool = True


class Wait(StrictMessage):
    """Request ``wait``: answered when all (or `any`) of the jobs have ended, or after `timeout`."""

    jobs: Annotated[list[Id], Meta(min_length=1, max_length=10_000)]
    timeout: Annotated[float, Meta(ge=0, le=300)] = 30.0
    any: bool = False


class Waited(Message):
    """Answer to ``wait``: how many have ended, and which have not (the first 10,000 at most)."""

    ended: int
    open: list[Id] = []


class Cancel(StrictMessage):
    """Request ``cancel``: jobs, optionally with all that depend on them, or a whole graph."""

    jobs: Annotated[list[Id], Meta(max_length=10_000)] = []
    dependents: bool = False
    graph: Id | None = None
    reason: Annotated[str, Meta(max_length=1000)] | None = None


class CanceledJobs(Message):
    """Answer to ``cancel``: how many were canceled now, how many of those were running."""

    canceled: int
    running: int = 0
    already_final: int = 0


class Retry(StrictMessage):
    """Request ``retry``: copies of failed or canceled jobs and of what was skipped because of them.

    A skipped job itself cannot be named: the job because of which it was skipped is to be retried.
    """

    jobs: Annotated[list[Id], Meta(max_length=10_000)] = []
    graph: Id | None = None


class RetriedJob(Message):
    """One job and its copy."""

    job: Id
    retried_as: Id


class Retried(Message):
    """Answer to ``retry``: every copy that exists now because of it."""

    jobs: list[RetriedJob]


class Explain(StrictMessage):
    """Request ``explain``."""

    job: Id


class Reason(Message):
    """One step of an explanation: what a job waits for, or why it ended as it did."""

    kind: str
    text: str
    job: Id | None = None
    state: State | None = None
    depth: int = 0


class Explanation(Message):
    """Answer to ``explain``: reasons, the job's own first, then step by step to the root cause."""

    job: Id
    state: State
    summary: str
    reasons: list[Reason] = []


class ListJobs(StrictMessage):
    """Request ``list``: newest first. `before` is the `next` of the page before."""

    states: list[State] = []
    type: JobType | None = None
    channel: Channel | None = None
    graph: Id | None = None
    name: Label | None = None
    dependencies: bool = False
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    before: Annotated[int, Meta(ge=0, le=1 << 53)] | None = None


class ListGraphs(StrictMessage):
    """Request ``graphs``: newest first."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    before: Annotated[int, Meta(ge=0, le=1 << 53)] | None = None


class GetGraph(StrictMessage):
    """Request ``graph``: how many of its jobs are in which state, by type."""

    graph: Id


class TypeCount(Message):
    """Jobs of one type in one state."""

    type: str | None
    state: State
    jobs: int


class GraphStatus(Message):
    """Answer to ``graph``."""

    id: Id
    queued: Milliseconds
    name: str | None = None
    counts: list[TypeCount] = []
    finished: Milliseconds | None = None


class GraphPage(Message):
    """Answer to ``graphs``."""

    graphs: list[GraphStatus]
    next: int | None = None


class Error(Message):
    """How an attempt failed, or body of an ``error`` answer."""

    code: Annotated[str, Meta(min_length=1, max_length=200)]
    message: Annotated[str, Meta(max_length=20_000)]
    details: Raw | UnsetType = UNSET


class Progress(Message):
    """What a worker said of a running job; the last one is kept."""

    fraction: Annotated[float, Meta(ge=0, le=1)] | None = None
    message: Annotated[str, Meta(max_length=1000)] | None = None
    data: Raw | UnsetType = UNSET


class DependencyStatus(Message):
    """One dependency as ``status`` shows it; those of a job keep the order they were given in."""

    job: Id
    state: State
    condition: Condition = Condition.SUCCESS


class JobStatus(Message):
    """Everything that is known of a job."""

    id: Id
    state: State
    queued: Milliseconds
    type: str | None = None
    name: str | None = None
    channel: str = ""
    graph: Id | None = None
    ready: Milliseconds | None = None
    started: Milliseconds | None = None
    finished: Milliseconds | None = None
    available_at: Milliseconds | None = None
    attempt: int = 0
    max_attempts: int = 1
    priority: int = DEFAULT_PRIORITY
    timeout: float | None = None
    worker: str | None = None
    progress: Progress | None = None
    result: Raw | UnsetType = UNSET
    error: Error | None = None
    args: Raw | UnsetType = UNSET
    dependencies: list[DependencyStatus] | UnsetType = UNSET
    dependency_count: int = 0
    skipped_because: Id | None = None
    retry_of: Id | None = None
    retried_as: Id | None = None


class StatusPage(Message):
    """Answer to ``status`` and ``list``. `more`: ids still to be asked; `next`: cursor of a list."""

    jobs: list[JobStatus]
    more: list[Id] = []
    next: int | None = None


class Hello(StrictMessage):
    """Request ``hello``: a worker names itself, at its start and every `hello_interval` seconds."""

    worker: Annotated[str, Meta(min_length=1, max_length=150)]
    types: Annotated[list[JobType], Meta(max_length=1000)]
    channels: Annotated[list[Channel], Meta(min_length=1, max_length=1000)] = msgspec.field(
        default_factory=lambda: [""]
    )
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 1
    running: Annotated[int, Meta(ge=0, le=100_000)] = 0
    host: Annotated[str, Meta(max_length=255)] = ""
    pid: Annotated[int, Meta(ge=0, le=1 << 53)] = 0
    software: Annotated[str, Meta(max_length=200)] = ""
    leases: bool = False
    """It takes a lease on a job that runs long."""
    stopping: bool = False


class Welcome(Message):
    """Answer to ``hello``: its queues exist now; jobs with these tokens are canceled: drop them."""

    queues: list[str]
    protocol: int
    hello_interval: Seconds = 30.0
    lease_after: Seconds = 60.0
    """A worker asks for a lease on a job that has run for so long."""
    canceled: list[str] = []


class GetWorkers(StrictMessage):
    """Request ``workers``."""


class WorkerStatus(Message):
    """A worker as it named itself."""

    worker: str
    types: list[str]
    channels: list[str]
    concurrency: int
    running: int
    host: str
    pid: int
    software: str
    since: Milliseconds
    seen: Milliseconds
    leases: bool = False


class WorkersPage(Message):
    """Answer to ``workers``."""

    workers: list[WorkerStatus]


class GetInfo(StrictMessage):
    """Request ``info``."""


class QueueStatus(Message):
    """One job queue: ready jobs in the database's line and on the broker, and its consumers."""

    queue: str
    type: str
    channel: str
    in_line: int
    handed_out: int
    messages: int
    consumers: int
    refusal: str | None = None
    """Why the broker refuses it."""
    foreign: bool = False
    """Somebody else declared it, in another way than the scheduler would."""
    canceled: int = 0
    """Canceled jobs whose messages still lie in it, or are with a worker; not in `handed_out`."""


class Info(Message):
    """Answer to ``info``. `queues`: of types that had a job, or that a worker named lately."""

    version: str
    protocol: int
    database: str
    broker: str
    epoch: int
    since: Milliseconds
    jobs: dict[str, int]
    queues: list[QueueStatus]
    parked: int = 0


class CancelControl(Message):
    """Control message ``cancel``: the holder of one of these tokens stops, or never starts."""

    tokens: list[str]


class JobEvent(Message):
    """Body of an event: a job changed its state, or told of its progress."""

    job: Id
    state: State
    at: Milliseconds
    type: str | None = None
    name: str | None = None
    channel: str = ""
    graph: Id | None = None
    attempt: int = 0
    error: Error | None = None
    progress: Progress | None = None


def encode(message: Message | Sequence[Message]) -> bytes:
    """Return the JSON text of a body."""
    return _ENCODER.encode(message)


_ENCODER = msgspec.json.Encoder()
