"""A job as its message describes it, checked once, for the worker and for dequeue."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from broker_queue.amqp.channel import Delivery
from broker_queue.errors import Invalid
from broker_queue.job import GraphId, JobId, parse_graph_id, parse_job_id
from broker_queue.protocol.codec import RawJson
from broker_queue.protocol.job_headers import read_job_headers


@dataclass(frozen=True, kw_only=True)
class DequeuedJob:
    """A job at hand: it is running, and this program is its worker.

    Attributes:
        raw_args: JSON text of the args, byte for byte as they were enqueued, with the results that
            they refer to filled in.
        dependencies: ids of the jobs that it depended on.
        dependency_count: how many there are.
        attempt: number of this attempt, from 1.
        timeout: seconds after which the scheduler takes the attempt for failed.
        republished: whether the broker may have another copy of its message.
        traceparent: the trace that it belongs to, as it was enqueued (W3C Trace Context).
        token: names this hand-over; whoever has it may report on it.
    """

    id: JobId
    type: str
    raw_args: RawJson = field(repr=False)
    dependencies: tuple[JobId, ...] = ()
    dependency_count: int = 0
    attempt: int = 1
    max_attempts: int = 1
    channel: str = ""
    name: str | None = None
    graph: GraphId | None = None
    timeout: float | None = None
    traceparent: str | None = None
    republished: bool = False
    token: str = field(repr=False)

    @cached_property
    def args(self) -> Any:
        """The args, parsed."""
        return json.loads(self.raw_args)


def read_job(delivery: Delivery) -> DequeuedJob:
    """Return the job in a message of a job queue.

    When there are many dependencies, the message counts them and names none.

    Raises:
        Invalid: it is no job, or one of a newer protocol; the text names the property or header.
    """
    headers = read_job_headers(delivery.headers)
    return DequeuedJob(
        id=_job_id(_property(delivery.message_id, "message_id"), "message_id"),
        type=_property(delivery.type, "type"),
        raw_args=RawJson(delivery.body),
        dependencies=tuple(_job_id(job, "headers.dependencies") for job in headers.dependencies),
        dependency_count=headers.dependency_count,
        attempt=headers.attempt,
        max_attempts=headers.max_attempts,
        channel=headers.channel,
        name=headers.name,
        graph=None if headers.graph is None else _graph_id(headers.graph),
        timeout=headers.timeout,
        traceparent=headers.traceparent,
        republished=headers.republished,
        token=_property(delivery.correlation_id, "correlation_id"),
    )


def _property(value: str | None, name: str) -> str:
    if not value:
        raise Invalid(f"{name}: the property is missing", {"field": name})
    return value


def _job_id(text: str, name: str) -> JobId:
    try:
        return parse_job_id(text)
    except ValueError as error:
        raise Invalid(f"{name}: {error}", {"field": name}) from None


def _graph_id(text: str) -> GraphId:
    try:
        return parse_graph_id(text)
    except ValueError as error:
        raise Invalid(f"headers.graph: {error}", {"field": "headers.graph"}) from None
