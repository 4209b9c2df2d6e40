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
    from broker_queue.graph import Edge, Graph, JobHandle, JobOptions, ResultReference
    from broker_queue.job import Condition, JobId, State
    from broker_queue.job_message import DequeuedJob
    from broker_queue.protocol.codec import RawJson
    from broker_queue.protocol.messages import Backoff
    from broker_queue.running import Job
    from broker_queue.status import JobStatus
    from broker_queue.worker import Worker

__all__ = [
    "Backoff",
    "BrokerQueueError",
    "Canceled",
    "Condition",
    "ConfigurationError",
    "Conflict",
    "Cycle",
    "DequeuedJob",
    "Edge",
    "Graph",
    "Invalid",
    "Job",
    "JobError",
    "JobHandle",
    "JobId",
    "JobNotFinished",
    "JobOptions",
    "JobQueue",
    "JobStatus",
    "NotExist",
    "NotRunning",
    "ProtocolError",
    "RawJson",
    "RequestError",
    "ResultReference",
    "State",
    "TooLarge",
    "Unavailable",
    "Worker",
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
        "Edge",
        "Graph",
        "JobHandle",
        "JobOptions",
        "ResultReference",
    ),
    "broker_queue.job": (
        "Condition",
        "JobId",
        "State",
    ),
    "broker_queue.protocol.codec": ("RawJson",),
    "broker_queue.protocol.messages": ("Backoff",),
    "broker_queue.running": ("Job",),
    "broker_queue.status": ("JobStatus",),
    "broker_queue.job_message": ("DequeuedJob",),
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
