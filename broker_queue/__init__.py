"""Jobs with dependencies on the RabbitMQ you already run.

`JobQueue` enqueues and asks, with asyncio; `broker_queue.sync.JobQueue` does the same for blocking
code. `Graph` puts jobs and their dependencies together.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from broker_queue.client import JobQueue
    from broker_queue.errors import (
        BrokerQueueError,
        Canceled,
        ConfigurationError,
        Conflict,
        Cycle,
        Invalid,
        JobError,
        JobNotFinished,
        NotExist,
        NotRunning,
        ProtocolError,
        RequestError,
        TooLarge,
        Unavailable,
    )
    from broker_queue.graph import Dependable, Edge, Graph, JobHandle, JobOptions, ResultReference
    from broker_queue.job import (
        Condition,
        FailureCode,
        GraphId,
        GraphLike,
        HasId,
        JobId,
        JobLike,
        State,
    )
    from broker_queue.job_message import DequeuedJob
    from broker_queue.overview import GraphPage, GraphStatus, Info, WorkerStatus
    from broker_queue.protocol.codec import RawJson
    from broker_queue.protocol.messages import (
        Backoff,
        CanceledJobs,
        DependencyStatus,
        Explanation,
        QueueStatus,
        Reason,
        Submitted,
        TypeCount,
    )
    from broker_queue.running import Job
    from broker_queue.status import Error, JobEvent, JobPage, JobStatus, Progress
    from broker_queue.worker import Worker

__all__ = [
    "Backoff",
    "BrokerQueueError",
    "Canceled",
    "CanceledJobs",
    "Condition",
    "ConfigurationError",
    "Conflict",
    "Cycle",
    "Dependable",
    "DependencyStatus",
    "DequeuedJob",
    "Edge",
    "Error",
    "Explanation",
    "FailureCode",
    "Graph",
    "GraphId",
    "GraphLike",
    "GraphPage",
    "GraphStatus",
    "HasId",
    "Info",
    "Invalid",
    "Job",
    "JobError",
    "JobEvent",
    "JobHandle",
    "JobId",
    "JobLike",
    "JobNotFinished",
    "JobOptions",
    "JobPage",
    "JobQueue",
    "JobStatus",
    "NotExist",
    "NotRunning",
    "Progress",
    "ProtocolError",
    "QueueStatus",
    "RawJson",
    "Reason",
    "RequestError",
    "ResultReference",
    "State",
    "Submitted",
    "TooLarge",
    "TypeCount",
    "Unavailable",
    "Worker",
    "WorkerStatus",
]

_HOMES = {
    "broker_queue.client": ("JobQueue",),
    "broker_queue.errors": (
        "BrokerQueueError",
        "Canceled",
        "ConfigurationError",
        "Conflict",
        "Cycle",
        "Invalid",
        "JobError",
        "JobNotFinished",
        "NotExist",
        "NotRunning",
        "ProtocolError",
        "RequestError",
        "TooLarge",
        "Unavailable",
    ),
    "broker_queue.graph": (
        "Dependable",
        "Edge",
        "Graph",
        "JobHandle",
        "JobOptions",
        "ResultReference",
    ),
    "broker_queue.job": (
        "Condition",
        "FailureCode",
        "GraphId",
        "GraphLike",
        "HasId",
        "JobId",
        "JobLike",
        "State",
    ),
    "broker_queue.job_message": ("DequeuedJob",),
    "broker_queue.overview": (
        "GraphPage",
        "GraphStatus",
        "Info",
        "WorkerStatus",
    ),
    "broker_queue.protocol.codec": ("RawJson",),
    "broker_queue.protocol.messages": (
        "Backoff",
        "CanceledJobs",
        "DependencyStatus",
        "Explanation",
        "QueueStatus",
        "Reason",
        "Submitted",
        "TypeCount",
    ),
    "broker_queue.running": ("Job",),
    "broker_queue.status": (
        "Error",
        "JobEvent",
        "JobPage",
        "JobStatus",
        "Progress",
    ),
    "broker_queue.worker": ("Worker",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line must not wait for pydantic."""
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
