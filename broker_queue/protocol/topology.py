"""What there is on the broker: the same arguments on every RabbitMQ from 3.10 to 4.3.

Each queue names its type, since a virtual host may have another default. Arguments that a version
does not know are left out altogether: a later version would compare them (see the declarations in
RabbitMQ's ``rabbit_amqqueue``). Nothing is transient and shared.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from broker_queue.protocol.names import REPORTS_KEY, REQUESTS_KEY, Names, routing_key

MAX_CLASSIC_PRIORITY = 9
CONTROL_DELIVERY_LIMIT = 1_000_000
"""Requests and reports are never given up on: what is wrong with one is parked with its reason."""

MAX_PARKED = 10_000
"""Messages; beyond that the broker drops the oldest."""


class Exchange(NamedTuple):
    """A durable exchange."""

    name: str
    kind: str


class Queue(NamedTuple):
    """A durable queue, and how messages get into it."""

    name: str
    arguments: dict[str, Any]
    exchange: str | None = None
    """What it is bound to; without one it is reached by its name only."""
    routing_key: str = ""


def exchanges(names: Names) -> list[Exchange]:
    """Return all exchanges of a namespace."""
    return [
        Exchange(names.requests, "direct"),
        Exchange(names.jobs, "direct"),
        Exchange(names.reports, "direct"),
        Exchange(names.control, "topic"),
        Exchange(names.events, "topic"),
        Exchange(names.dead, "fanout"),
    ]


def own_queues(names: Names) -> list[Queue]:
    """Return the queues that a scheduler itself reads, and the one it parks messages in."""
    quorum = {"x-queue-type": "quorum", "x-delivery-limit": CONTROL_DELIVERY_LIMIT}
    active = quorum | {"x-single-active-consumer": True}
    return [
        Queue(names.requests, active, names.requests, REQUESTS_KEY),
        Queue(names.reports, active, names.reports, REPORTS_KEY),
        Queue(names.dead, active, names.dead),
        Queue(names.parked, quorum | {"x-max-length": MAX_PARKED}),
    ]


def job_queue(
    names: Names, job_type: str, channel: str = "", *, queue_type: str, delivery_limit: int
) -> Queue:
    """Return the queue of one type and channel.

    Args:
        names: of the namespace.
        job_type: of its jobs.
        channel: of its jobs.
        queue_type: ``quorum`` or ``classic``.
        delivery_limit: for quorum queues.
    """
    arguments: dict[str, Any] = {"x-queue-type": queue_type, "x-dead-letter-exchange": names.dead}
    if queue_type == "quorum":
        arguments["x-delivery-limit"] = delivery_limit
    else:
        arguments["x-max-priority"] = MAX_CLASSIC_PRIORITY
    key = routing_key(job_type, channel)
    return Queue(names.job_queue(job_type, channel), arguments, names.jobs, key)
