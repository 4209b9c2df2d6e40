"""Every setting once: name, unit, default, reason. Help, docs and compose files read it here."""

from __future__ import annotations

from typing import Literal

from pydantic import AmqpDsn, Field, TypeAdapter, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker_queue.address import DEFAULT_NAMESPACE, DEFAULT_URL
from broker_queue.protocol.names import NAMESPACE_PATTERN


class Settings(BaseSettings):
    """Settings of the scheduler: from flags, else ``BROKER_QUEUE_<NAME>``, else the default."""

    model_config = SettingsConfigDict(env_prefix="BROKER_QUEUE_", extra="ignore", frozen=True)

    url: str = Field(
        DEFAULT_URL,
        description="Broker: amqp://user:password@host:port/vhost, or amqps:// for TLS.",
    )
    database: str = Field(
        "broker-queue.sqlite3",
        description="Path of the SQLite file; it is made when it is not there, in a folder that is.",
    )
    database_cache: int = Field(
        64,
        ge=1,
        le=65_536,
        description="MiB of memory for pages of the database that are written; each of the five "
        "connections that read has up to a quarter of that. The scheduler itself takes about 80.",
    )
    namespace: str = Field(
        DEFAULT_NAMESPACE,
        pattern=NAMESPACE_PATTERN,
        description="First part of every exchange and queue name; several schedulers can share a "
        "virtual host.",
    )
    queue_type: Literal["quorum", "classic"] = Field(
        "quorum",
        description="Type of the job queues. Quorum queues are replicated and count deliveries; "
        "classic ones have less latency on a single node.",
    )
    window: int = Field(
        2_000,
        ge=1,
        le=100_000,
        description="Jobs that one queue holds at most; the others stand in line in the database, "
        "where priorities and cancels reach them.",
    )
    delivery_limit: int = Field(
        20,
        ge=1,
        le=10_000,
        description="Deliveries after which the broker gives up on a job whose workers keep dying.",
    )
    batch: int = Field(
        500, ge=1, le=10_000, description="Messages that one transaction takes in at most."
    )
    max_args_bytes: int = Field(
        1 << 20, ge=1, le=8 << 20, description="Longest args of a job, in bytes of JSON."
    )
    max_result_bytes: int = Field(
        1 << 20, ge=1, le=8 << 20, description="Longest result of a job, in bytes of JSON."
    )
    max_jobs: int = Field(
        250_000, ge=1, le=1_000_000, description="Jobs in one submit, all its parts together."
    )
    max_dependencies: int = Field(
        150_000,
        ge=1,
        le=150_000,
        description="Dependencies of one job; a status that lists more would not fit a message.",
    )
    events: bool = Field(
        True, description="Publish every change of state to the events exchange (for watch)."
    )
    takeover_after: float = Field(
        15.0,
        ge=2.0,
        le=600.0,
        description="Seconds after which a standby takes over from a scheduler that says nothing.",
    )
    lease_after: float = Field(
        60.0,
        ge=0.1,
        le=3600.0,
        description="Seconds after which the worker of a job that still runs takes a lease on it; "
        "less than the broker's own limit, its consumer_timeout of 30 minutes.",
    )
    lease_duration: float = Field(
        60.0,
        ge=1.0,
        le=3600.0,
        description="Seconds of silence after which a worker with a lease counts as lost, and the "
        "job is handed to another.",
    )
    lost_after: float = Field(
        3600.0,
        ge=1.0,
        le=604_800.0,
        description="Seconds without a report after which a job that was handed out, whose queue "
        "is empty and which nobody holds by lease, is handed out anew; more than the broker's "
        "consumer_timeout.",
    )
    hello_interval: float = Field(
        30.0, ge=1.0, le=3600.0, description="Seconds between the greetings of a worker."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="Log lines for people or for programs; auto: text on a terminal."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        TypeAdapter(AmqpDsn).validate_python(url)
        return url
