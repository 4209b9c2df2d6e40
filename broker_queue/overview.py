"""What a client is told of graphs, workers and the scheduler: the wire's answers with datetimes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from broker_queue.job import GraphId
from broker_queue.moments import from_milliseconds, from_milliseconds_or_none
from broker_queue.protocol import messages


@dataclass(frozen=True, kw_only=True)
class GraphStatus:
    """How far a graph has come. Times are in UTC.

    Attributes:
        queued: when it was submitted.
        counts: how many of its jobs are in which state, by type.
        finished: when its last job ended; None as long as one has not.
    """

    id: GraphId
    queued: datetime
    name: str | None = None
    counts: list[messages.TypeCount] = field(default_factory=list)
    finished: datetime | None = None

    @classmethod
    def from_message(cls, message: messages.GraphStatus) -> GraphStatus:
        """Return the status that a message of the wire holds."""
        return cls(
            id=GraphId(message.id),
            queued=from_milliseconds(message.queued),
            name=message.name,
            counts=message.counts,
            finished=from_milliseconds_or_none(message.finished),
        )


@dataclass(frozen=True)
class GraphPage:
    """One page of the graphs, newest first.

    Attributes:
        next: give it as `before` to get the next page; None on the last one.
    """

    graphs: list[GraphStatus]
    next: int | None = None

    @classmethod
    def from_message(cls, message: messages.GraphPage) -> GraphPage:
        """Return the page that a message of the wire holds."""
        return cls([GraphStatus.from_message(graph) for graph in message.graphs], message.next)


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """A worker as it named itself. Times are in UTC.

    Attributes:
        running: jobs that it ran when it was last heard of.
        since: when it was first heard of.
        seen: when it was last heard of.
    """

    worker: str
    types: list[str]
    channels: list[str]
    concurrency: int
    running: int
    host: str
    pid: int
    software: str
    since: datetime
    seen: datetime
    leases: bool = False

    @classmethod
    def from_message(cls, message: messages.WorkerStatus) -> WorkerStatus:
        """Return the worker that a message of the wire describes."""
        return cls(
            worker=message.worker,
            types=message.types,
            channels=message.channels,
            concurrency=message.concurrency,
            running=message.running,
            host=message.host,
            pid=message.pid,
            software=message.software,
            since=from_milliseconds(message.since),
            seen=from_milliseconds(message.seen),
            leases=message.leases,
        )


WorkerList: TypeAlias = list[WorkerStatus]
"""For classes whose method ``list`` hides the built-in one from annotations."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """The scheduler and its queues.

    Attributes:
        epoch: how often a scheduler has taken over this database.
        since: when this one started, in UTC.
        jobs: how many are in which state.
        queues: the state of every job queue whose type had a job, or is served by a worker that
            said hello.
        parked: messages that nobody could be told about, with their reasons, on the broker.
    """

    version: str
    protocol: int
    database: str
    broker: str
    epoch: int
    since: datetime
    jobs: dict[str, int]
    queues: list[messages.QueueStatus]
    parked: int = 0

    @classmethod
    def from_message(cls, message: messages.Info) -> Info:
        """Return what a message of the wire holds."""
        return cls(
            version=message.version,
            protocol=message.protocol,
            database=message.database,
            broker=message.broker,
            epoch=message.epoch,
            since=from_milliseconds(message.since),
            jobs=message.jobs,
            queues=message.queues,
            parked=message.parked,
        )
