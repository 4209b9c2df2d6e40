"""Folding reports into jobs: each at most once, and only by the holder of the current hand-over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from broker_queue.errors import RequestError
from broker_queue.job import FailureCode, Verdict
from broker_queue.protocol.messages import Error, Extension, NewJob
from broker_queue.protocol.reports import ReportAnswer
from scheduler.operations import submit
from scheduler.operations.settle import settle
from scheduler.operations.transaction import ReplyAddress, Transaction
from scheduler.rules.lifecycle import (
    Die,
    Dispatch,
    Fail,
    HandBack,
    JobFacts,
    Lease,
    Report,
    Succeed,
    decide,
)
from scheduler.tokens import Token


class Growth(NamedTuple):
    """Jobs that come into being together with a result."""

    jobs: Sequence[NewJob]
    extend: Sequence[Extension]


class Incoming(NamedTuple):
    """A report whose token was verified. `event` None: progress only."""

    token: Token
    event: Report | None
    result: bytes | None = None
    error: Error | None = None
    progress: bytes | None = None
    growth: Growth | None = None
    reply: ReplyAddress | None = None


def fold(transaction: Transaction, reports: Sequence[Incoming]) -> None:
    """Fold reports in the order in which they came, and answer those that asked for it."""
    transaction.load({report.token.key for report in reports})
    for report in reports:
        verdict = _fold_one(transaction, report)
        known = transaction.job(report.token.key)
        state = None if known is None or verdict is Verdict.NOT_EXIST else known.facts.state
        lease = report.event.duration / 1000 if isinstance(report.event, Lease) else None
        granted = lease if verdict is Verdict.ACCEPTED else None
        transaction.answer(report.reply, verdict, ReportAnswer(state=state, lease=granted))
    settle(transaction)


def _fold_one(transaction: Transaction, report: Incoming) -> Verdict:
    key = report.token.key
    job = transaction.job(key)
    if job is None or job.identity.id != report.token.id:
        return Verdict.NOT_EXIST
    verdict = _refusal(job.facts, report, transaction.now)
    if verdict is not None:
        if _leaves_the_queue(job.facts, report):
            transaction.drop(key)
        elif verdict is Verdict.CANCELED and report.token.handover == job.facts.handover:
            transaction.revoke(key)  # whoever says that it runs was not told, or did not hear
        return verdict
    if report.event is None:
        transaction.progress(key, report.progress or b"{}")
        return Verdict.ACCEPTED
    event, result, error = report.event, report.result, report.error
    if report.growth is not None:
        refused = _grow(transaction, key, report.growth)
        if refused is not None:
            event = Fail(report.token.handover, retry=False)
            result, error = None, refused
    return transaction.apply(key, event, result=result, error=error)


def _refusal(facts: JobFacts, report: Incoming, now: int) -> Verdict | None:
    """Return why a report changes nothing, or None if it does."""
    probe = report.event or HandBack(report.token.handover)  # progress: refused when that is
    after = decide(facts, probe, now)
    return after if isinstance(after, Verdict) else None


def _leaves_the_queue(facts: JobFacts, report: Incoming) -> bool:
    """Whether a report shows that the message of a canceled job was taken out of its queue."""
    taken_out = isinstance(report.event, Succeed | Fail | HandBack | Die)
    return (
        facts.dispatch is not Dispatch.NONE
        and facts.handover == report.token.handover
        and taken_out
    )


def _grow(transaction: Transaction, key: int, growth: Growth) -> Error | None:
    """Enqueue the jobs that come with a result, or return why they cannot be."""
    graph = transaction.identity(key).graph
    try:
        settle(transaction)  # what ended before must have been told, or new edges hear of it twice
        submit.grow(transaction, growth.jobs, growth.extend, graph)
    except RequestError as error:
        return Error(
            code=FailureCode.INVALID_JOBS,
            message=f"the jobs that its report enqueued were refused: {error.message}",
        )
    return None
