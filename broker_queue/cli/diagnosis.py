"""What ``doctor`` makes of what it found. Pure: facts in, findings with advice out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from broker_queue.cli.durations import format_age
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.cli.words import counted
from broker_queue.overview import Info, WorkerStatus
from broker_queue.protocol.messages import QueueStatus
from broker_queue.protocol.names import PROTOCOL_VERSION, Names

SHOWN_WORKERS = 3
"""Names in one finding."""

OLDEST_BROKER = (3, 10)
"""First RabbitMQ that this was tested on."""


VIRTUAL_HOST_REFUSED = re.compile("vhost|Connection.OpenOk")
"""In place of opening a virtual host, the broker closes: the client library says the latter."""


class Verdict(StrEnum):
    """How good or bad a finding is."""

    GOOD = "good"
    NOTE = "note"
    """Worth knowing; not wrong."""
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        subject: what was looked at, in a word or two.
        text: what was found.
        advice: what to do about it; empty when nothing is to be done.
        unreachable: the problem is that nobody answers.
    """

    verdict: Verdict
    subject: str
    text: str
    advice: str = ""
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class BrokerQueueState:
    """A queue as the broker itself describes it."""

    messages: int
    consumers: int


@dataclass(slots=True, kw_only=True)
class Facts:
    """What was found out; None where nothing answered."""

    address: str
    address_source: str
    namespace: str
    version: str
    now: datetime
    broker: str | None = None
    broker_error: str = ""
    requests_queue: BrokerQueueState | None = None
    info: Info | None = None
    info_error: str = ""
    workers: Sequence[WorkerStatus] = field(default_factory=list)


def diagnose(facts: Facts) -> list[Finding]:
    """Return all findings, from the ground up; what cannot be known is left out."""
    findings = [
        Finding(
            Verdict.GOOD,
            "address",
            f"{facts.address}, namespace {facts.namespace} ({facts.address_source})",
        ),
        _broker(facts),
    ]
    if facts.broker is None:
        return findings
    findings.append(_scheduler(facts))
    if facts.info is not None:
        findings += _inside(facts, facts.info)
    return findings


def health(findings: Sequence[Finding]) -> ExitCode:
    """Return the exit code for these findings."""
    problems = [finding for finding in findings if finding.verdict is Verdict.PROBLEM]
    if any(finding.unreachable for finding in problems):
        return ExitCode.UNAVAILABLE
    return ExitCode.UNHEALTHY if problems else ExitCode.OK


def _broker(facts: Facts) -> Finding:
    if facts.broker is None:
        text, advice = _unreachable(facts)
        return Finding(Verdict.PROBLEM, "broker", text, advice, unreachable=True)
    found = re.search(r"(\d+)\.(\d+)", facts.broker)
    if found and (int(found[1]), int(found[2])) < OLDEST_BROKER:
        oldest = ".".join(map(str, OLDEST_BROKER))
        return Finding(
            Verdict.PROBLEM, "broker", f"{facts.broker} is too old", f"use {oldest} or newer"
        )
    return Finding(Verdict.GOOD, "broker", facts.broker)


def _unreachable(facts: Facts) -> tuple[str, str]:
    """Return what keeps us from the broker, and what to do: it may run and refuse us."""
    error = facts.broker_error or "does not answer"
    if "ACCESS_REFUSED" in error:
        return (
            f"runs, but refuses the user or the password of {facts.address}",
            "correct them in the URL; `guest` is let in from the broker's own machine only",
        )
    if VIRTUAL_HOST_REFUSED.search(error):
        return (
            f"runs, but refuses the virtual host of {facts.address}",
            "correct the URL's path, or on the broker: rabbitmqctl add_vhost NAME, "
            "rabbitmqctl set_permissions -p NAME USER '.*' '.*' '.*'",
        )
    return error, (
        "start RabbitMQ, or say where it is with --url or BROKER_QUEUE_URL; "
        "`broker-queue dev` starts a private one"
    )


def _scheduler(facts: Facts) -> Finding:
    names = Names(facts.namespace)
    queue = facts.requests_queue
    if facts.info is not None:
        since = format_age(facts.info.since, facts.now)
        text = f"version {facts.info.version}, protocol {facts.info.protocol}, started {since}"
        return Finding(Verdict.GOOD, "scheduler", text)
    if queue is None:
        return Finding(
            Verdict.PROBLEM,
            "scheduler",
            f"none has run here: there is no queue {names.requests}",
            "start one with `broker-queue scheduler`, or check --url and --namespace",
            unreachable=True,
        )
    if queue.consumers == 0:
        return Finding(
            Verdict.PROBLEM,
            "scheduler",
            f"not running; {counted(queue.messages, 'request')} left in {names.requests}",
            "start it with `broker-queue scheduler` and the database that it had",
            unreachable=True,
        )
    return Finding(
        Verdict.PROBLEM,
        "scheduler",
        f"is connected and does not answer: {facts.info_error}",
        "look at its log and at the load of its machine",
        unreachable=True,
    )


def _inside(facts: Facts, info: Info) -> Iterator[Finding]:
    if info.protocol != PROTOCOL_VERSION:
        yield Finding(
            Verdict.PROBLEM,
            "protocol",
            f"the scheduler speaks version {info.protocol}, this program {PROTOCOL_VERSION}",
            "install the same version of broker-queue on both sides",
        )
    elif info.version != facts.version:
        yield Finding(
            Verdict.NOTE, "versions", f"scheduler {info.version}, this program {facts.version}"
        )
    yield Finding(Verdict.GOOD, "database", info.database)
    yield from _queues(info)
    yield from _parked(info, Names(facts.namespace))
    yield from _workers(facts, info)


def _queues(info: Info) -> Iterator[Finding]:
    refused = [q for q in info.queues if q.refusal is not None]
    for queue in refused:
        yield Finding(
            Verdict.PROBLEM,
            "queue",
            f"{queue.queue}: the broker refuses it to the scheduler: {queue.refusal}",
            "end the program that declared it, and let workers declare none",
        )
    for queue in info.queues:
        if queue.foreign:
            yield Finding(
                Verdict.NOTE,
                "queue",
                f"{queue.queue} was declared by somebody else and is used as it is: perhaps without "
                "a delivery limit, or gone with its last worker",
                "let workers declare none, and delete it when it is empty",
            )
    idle = [q for q in info.queues if not q.consumers and q not in refused]
    unserved = [q for q in idle if q.in_line + q.handed_out > 0]
    for queue in unserved:
        yield Finding(
            Verdict.PROBLEM,
            "queue",
            f"{queue.queue}: {_jobs(queue)} ready and no worker consumes",
            f"start a worker with the type {queue.type}{_on_channel(queue)}",
        )
    # What is canceled is dropped by the next worker, and needs none.
    stranded = [q for q in idle if q.messages > q.canceled and q not in unserved]
    for queue in stranded:
        yield Finding(
            Verdict.PROBLEM,
            "queue",
            f"{queue.queue}: {counted(queue.messages - queue.canceled, 'message')} and no worker consumes: "
            "probably of running jobs whose worker died",
            f"start a worker with the type {queue.type}{_on_channel(queue)}",
        )
    if not refused and not unserved and not stranded:
        served = sum(1 for queue in info.queues if queue.consumers)
        ready = sum(queue.in_line + queue.handed_out for queue in info.queues)
        text = f"{len(info.queues)} in all, {served} with workers, {counted(ready, 'job')} ready or running"
        yield Finding(Verdict.GOOD, "queues", text if info.queues else "none yet")


def _parked(info: Info, names: Names) -> Iterator[Finding]:
    if info.parked:
        yield Finding(
            Verdict.PROBLEM,
            "parked",
            f"{counted(info.parked, 'message')} in {names.parked} that nobody could make sense of",
            "read their header `reason` on the management page, then purge the queue",
        )


def _workers(facts: Facts, info: Info) -> Iterator[Finding]:
    if not facts.workers:
        yield Finding(Verdict.NOTE, "workers", "none has said hello")
        return
    gone = [worker for worker in facts.workers if _is_gone(worker, info)]
    for worker in gone:
        yield Finding(
            Verdict.NOTE,
            "worker",
            f"{worker.worker} on {worker.host or 'an unknown host'} consumes no more: it died or "
            f"lost its connection; last heard of {format_age(worker.seen, facts.now)}",
        )
    active = [worker for worker in facts.workers if worker not in gone]
    if active:
        running = sum(worker.running for worker in active)
        room = sum(worker.concurrency for worker in active)
        text = f"{len(active):,} with room for {counted(room, 'job')}, {running:,} running"
        yield Finding(Verdict.GOOD, "workers", text)
    unleased = [worker.worker for worker in active if not worker.leases]
    if unleased:
        more = (
            f" and {len(unleased) - SHOWN_WORKERS:,} more" if len(unleased) > SHOWN_WORKERS else ""
        )
        yield Finding(
            Verdict.NOTE,
            "leases",
            f"{', '.join(unleased[:SHOWN_WORKERS])}{more}: no leases, so a job that runs longer than "
            "the broker's consumer_timeout (30 minutes, unless it was changed) starts again elsewhere",
            "keep their jobs shorter, or let them ask for leases (docs/protocol.md, level 3)",
        )


def _is_gone(worker: WorkerStatus, info: Info) -> bool:
    """Whether none of its queues has any consumer, however lately it said hello."""
    own = [q for q in info.queues if q.type in worker.types and q.channel in worker.channels]
    return bool(own) and not any(queue.consumers for queue in own)


def _jobs(queue: QueueStatus) -> str:
    count = queue.in_line + queue.handed_out
    return "1 job is" if count == 1 else f"{count:,} jobs are"


def _on_channel(queue: QueueStatus) -> str:
    return f" and the channel {queue.channel}" if queue.channel else ""
