"""The headers of a job's message: what a worker is told of a job beside its args."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from broker_queue.errors import Invalid
from broker_queue.protocol.codec import read_table
from broker_queue.protocol.fields import Channel, Id, Label, Seconds
from broker_queue.protocol.names import PROTOCOL_VERSION


class JobHeaders(Struct, omit_defaults=True, kw_only=True, frozen=True):
    """Headers of a job's message. There may be others: brokers add theirs."""

    protocol: Annotated[int, Meta(ge=1, description="version of the protocol")]
    attempt: Annotated[int, Meta(ge=1, description="number of this attempt")]
    max_attempts: Annotated[int, Meta(ge=1, description="attempts in all")]
    dependency_count: Annotated[int, Meta(ge=0, description="how many dependencies it has")]
    dependencies: list[Id] = []
    timeout: Seconds | None = None
    channel: Channel = ""
    name: Label | None = None
    graph: Id | None = None
    traceparent: Annotated[str, Meta(max_length=200)] | None = None
    republished: Annotated[
        bool, Meta(description="the broker may have another copy of this message")
    ] = False

    def to_table(self) -> dict[str, Any]:
        """Return the headers as they are published."""
        table: dict[str, Any] = msgspec.to_builtins(self)
        return table


def read_job_headers(table: Mapping[str, Any]) -> JobHeaders:
    """Return the headers of a message of a job queue, whoever put it there.

    Raises:
        Invalid: one is missing, of the wrong type or out of bounds, or they are of a newer
            protocol; ``details["field"]`` names the header.
    """
    protocol = table.get("protocol")
    if isinstance(protocol, int) and protocol > PROTOCOL_VERSION:
        raise Invalid(
            f"headers.protocol: the job was published in version {protocol} of the protocol, and "
            f"this program speaks version {PROTOCOL_VERSION}; install a newer broker-queue here",
            {"field": "headers.protocol"},
        )
    return read_table(table, JobHeaders, "headers")
