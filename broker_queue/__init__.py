"""Jobs with dependencies on the RabbitMQ you already run.

`JobQueue` enqueues and asks, with asyncio; `broker_queue.sync.JobQueue` does the same for blocking
code. `Graph` puts jobs and their dependencies together.
"""

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
from broker_queue.graph import Edge, Graph, JobHandle, ResultReference
from broker_queue.job import Condition, JobId, State
from broker_queue.protocol.codec import RawJson
from broker_queue.protocol.messages import Backoff
from broker_queue.running import Job
from broker_queue.status import JobStatus
from broker_queue.taking import DequeuedJob
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
