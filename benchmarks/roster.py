"""Who takes part, where it is, and with which settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One contender.

    Args:
        title: in tables.
        module: in ``benchmarks.contenders``, imported only in the process that runs it.
        kind: the class.
        packages: whose versions are noted.
        settings: for the notes under the table.
        only: the workloads that it is there for; all when empty.
        needs_redis: for its results.
        confirms: it waits for the broker's confirms.
    """

    title: str
    module: str
    kind: str
    packages: tuple[str, ...]
    settings: str
    only: tuple[str, ...] = ()
    needs_redis: bool = False
    confirms: bool = True

    @property
    def is_peer(self) -> bool:
        return self.module not in {"ours", "floor"}


CELERY = (
    "one worker, prefork with 2 processes (and the one that feeds them), late acknowledgement, "
    "prefetch 50 for each process, JSON, no gossip, mingle, heartbeat or events, classic durable "
    "queue, persistent messages"
)
DRAMATIQ = (
    "2 processes with 8 threads each, acknowledgement after the job, default prefetch, classic "
    "durable queue, persistent messages, only the middleware that is used"
)

ROSTER = {
    "floor": Entry(
        title="AMQP floor",
        module="floor",
        kind="Floor",
        packages=("aiormq", "uvloop"),
        settings="one client, one worker process, two messages for each job through quorum queues, "
        "each confirmed and acknowledged singly, 500 in flight, prefetch 200; the client keeps the "
        "graph in memory, and no one else anything",
    ),
    "ours": Entry(
        title="broker-queue",
        module="ours",
        kind="Ours",
        packages=("broker-queue", "aio-pika", "uvloop"),
        settings="one scheduler and one worker process (concurrency 200), quorum queues, persistent "
        "messages, confirms, SQLite with synchronous=FULL; all other settings as they come",
    ),
    "ours-classic": Entry(
        title="broker-queue, classic",
        module="ours",
        kind="OursClassic",
        packages=(),
        settings="the same with queue_type=classic",
        only=("chain", "latency"),
    ),
    "celery": Entry(
        title="Celery",
        module="celery",
        kind="Celery",
        packages=("celery", "kombu", "amqp", "redis"),
        settings=f"{CELERY}, confirms; results in Redis",
        needs_redis=True,
    ),
    "celery-unconfirmed": Entry(
        title="Celery, no confirms",
        module="celery",
        kind="Celery",
        packages=(),
        settings="the same without confirms, which is its default: the broker may lose a message",
        needs_redis=True,
        confirms=False,
    ),
    "dramatiq": Entry(
        title="Dramatiq",
        module="dramatiq",
        kind="Dramatiq",
        packages=("dramatiq", "pika", "redis"),
        settings=f"{DRAMATIQ}, confirms; results in Redis",
        needs_redis=True,
    ),
    "dramatiq-unconfirmed": Entry(
        title="Dramatiq, no confirms",
        module="dramatiq",
        kind="Dramatiq",
        packages=(),
        settings="the same without confirms, which is its default: the broker may lose a message",
        needs_redis=True,
        confirms=False,
    ),
    "taskiq": Entry(
        title="Taskiq",
        module="taskiq",
        kind="Taskiq",
        packages=("taskiq", "taskiq-aio-pika", "taskiq-redis", "aio-pika", "uvloop"),
        settings="2 processes with 100 tasks and a prefetch of 100 each, acknowledgement when the "
        "result is saved, quorum queue, confirms, uvloop; results in Redis, looked for every 5 ms",
        needs_redis=True,
    ),
    "dask": Entry(
        title="Dask",
        module="dask",
        kind="Dask",
        packages=("distributed", "dask"),
        settings="local cluster, 2 worker processes with a thread each, the scheduler beside the "
        "client; no broker, nothing durable: everything is in memory",
    ),
}
"""By the name on the command line, in the order of the tables."""
