"""Names on the broker, and the words that appear in properties and headers."""

from __future__ import annotations

import re
from dataclasses import dataclass

PROTOCOL_VERSION = 1

NAMESPACE_PATTERN = r"^[A-Za-z0-9_-]{1,40}$"
TYPE_PATTERN = r"^[A-Za-z0-9_.:-]{1,100}$(?!\n)"
CHANNEL_PATTERN = r"^[A-Za-z0-9_.:-]{0,60}$(?!\n)"

REPLY_TO_DIRECT = "amq.rabbitmq.reply-to"
"""RabbitMQ's pseudo-queue for answers (https://www.rabbitmq.com/docs/direct-reply-to)."""

REQUESTS_KEY = "requests"
REPORTS_KEY = "reports"
"""Routing keys of the exchanges of these names."""

HEADER_PROTOCOL = "protocol"
HEADER_STARTED = "started"
HEADER_REASON = "reason"

MAX_DEPENDENCIES_IN_HEADER = 32
"""More ids than this are left out: they would outweigh the job. `status` has them all."""

MAX_DETAILS_BYTES = 64 << 10
"""JSON text of a failure's details, and of a progress's data: they are shown in lists and events."""


@dataclass(frozen=True, slots=True)
class Names:
    """The exchanges and queues of one namespace; several schedulers can share a virtual host."""

    namespace: str

    def __post_init__(self) -> None:
        if not re.fullmatch(NAMESPACE_PATTERN, self.namespace):
            raise ValueError(f"namespace {self.namespace!r} does not match {NAMESPACE_PATTERN}")

    @property
    def requests(self) -> str:
        """Exchange and queue: clients to scheduler."""
        return f"{self.namespace}.requests"

    @property
    def jobs(self) -> str:
        """Exchange: scheduler to the queues of the types."""
        return f"{self.namespace}.jobs"

    @property
    def reports(self) -> str:
        """Exchange and queue: workers to scheduler."""
        return f"{self.namespace}.reports"

    @property
    def control(self) -> str:
        """Topic exchange: scheduler to workers."""
        return f"{self.namespace}.control"

    @property
    def events(self) -> str:
        """Topic exchange: every change of state, key ``<type>.<state>``."""
        return f"{self.namespace}.events"

    @property
    def dead(self) -> str:
        """Exchange and queue: jobs the broker gave up on."""
        return f"{self.namespace}.dead"

    @property
    def parked(self) -> str:
        """Queue: messages that nobody could answer, with the reason in a header."""
        return f"{self.namespace}.parked"

    def job_queue(self, job_type: str, channel: str = "") -> str:
        """Queue that holds the jobs of one type and channel."""
        return f"{self.jobs}.{routing_key(job_type, channel)}"

    def worker_queue(self, worker: str) -> str:
        """Exclusive queue by which one worker hears control messages."""
        return f"{self.control}.{worker}"


def routing_key(job_type: str, channel: str = "") -> str:
    """Return the last part of a job queue's name, which routes jobs and control messages alike."""
    return f"{job_type}@{channel}" if channel else job_type


def event_key(job_type: str | None, state: str) -> str:
    """Return the routing key of an event; milestones, which have no type, use ``milestone``."""
    return f"{job_type or 'milestone'}.{state}"


def reply_to_is_allowed(reply_to: str) -> bool:
    """Whether an answer may be sent there.

    The scheduler may write to every queue, so a free `reply_to` would let any client write to any
    queue through it. Allowed are direct reply-to addresses and queues named by the broker.
    """
    return reply_to.startswith((f"{REPLY_TO_DIRECT}.", "amq.gen-"))
