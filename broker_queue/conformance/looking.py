"""What several checks look at: how a job ended, whether one was dropped, why nothing came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from broker_queue.amqp.wiretap import Refused, Returned
from broker_queue.conformance.check import Unchecked, Unmet
from broker_queue.conformance.journal import FINAL, Report
from broker_queue.conformance.played import HandedOut
from broker_queue.conformance.stage import GRACE, Stage
from broker_queue.errors import RequestError
from broker_queue.protocol.codec import check_json, decode
from broker_queue.protocol.reports import REPORTS
from broker_queue.protocol.results import as_json

SHOWN = 200
"""Characters of a body."""

CLOSING_ADVICE = {
    403: "the worker must take user, password and virtual host from BROKER_QUEUE_URL",
    404: "give the kit the job type that the worker serves (--type), and the worker the namespace "
    "in BROKER_QUEUE_NAMESPACE",
    406: "declare nothing that the scheduler declares, and settle each message once, on the "
    "channel that it came by; with `multiple`, all before it are settled, too",
}
"""By the broker's reply code."""

SEVERAL_AT_ONCE = (
    "it acknowledges several messages at once (multiple), also of what still runs",
    "acknowledge each message by itself, with `multiple` off",
)

MAX_RESULT = 1 << 20
"""Bytes; the scheduler's default."""


async def finish(stage: Stage, job: HandedOut, seconds: float | None = None) -> bytes:
    """Return the result of a job that must finish, once its message is acknowledged.

    Raises:
        Unmet: it does not finish, or not in order.
    """
    report = await stage.ended(job, seconds)
    if report is None:
        raise Unmet(*why_no_report(stage, job))
    if report.kind == "failed":
        raise Unmet(
            f"it failed: {shown(report.body)}",
            "the job's args are those of a rehearsal job, unless --args gave others: see "
            "docs/conformance.md",
        )
    await acknowledged(stage, job, report)
    return result_of(report)


def result_of(report: Report) -> bytes:
    """Return the result in a ``finished`` as JSON text.

    Raises:
        Unmet: it is none.
    """
    if report.kind == "finished_with_jobs":
        return bytes(valid(report).result)
    try:
        result = as_json(report.body, report.message.properties.content_type or "")
        check_json(result, "result", MAX_RESULT)
    except RequestError as error:
        raise Unmet(
            f"its result is no JSON: {shown(report.body)} ({error.message})",
            "write the result as JSON, or send it in UTF-8 with content_type text/plain",
        ) from None
    return result


async def acknowledged(stage: Stage, job: HandedOut, report: Report) -> None:
    """Return once the message of a job that was reported on is acknowledged.

    Raises:
        Unmet: it is not, or it was before the report.
    """
    if any(consumer.no_ack for consumer in stage.journal.consumers(stage.queue)):
        return  # told already
    if not await stage.until(lambda: stage.settled(job)):
        raise Unmet(
            "it reports, and does not acknowledge the job's message",
            "acknowledge (basic.ack) when the report is published; until then the broker counts "
            "the job as running, and gives it to another worker after half an hour",
        )
    settled = stage.journal.settlements(job.token)[-1]
    if stage.journal.reports_on(job.token, "lease"):
        return  # it holds a lease, and acknowledged because of that
    if settled.order < report.order and settled.with_later:
        raise Unmet(*SEVERAL_AT_ONCE)
    if settled.order < report.order:
        raise Unmet(
            "it acknowledges the job's message before it reports",
            "publish the report first, wait for its confirm, then acknowledge: a worker that dies "
            "in between loses the job",
        )
    if settled.how != "ack":
        raise Unmet(
            f"it reports, and then gives the message back ({settled.how})",
            "acknowledge the message of a job that was reported on",
        )


def valid(report: Report) -> Any:
    """Return the body of a report as the scheduler reads it.

    Raises:
        Unmet: the scheduler would refuse it.
    """
    model = REPORTS.get(report.kind)
    if model is None or model is msgspec.Raw:
        raise Unmet(*_unknown(report))
    try:
        return decode(report.body or b"{}", model)
    except RequestError as error:
        raise Unmet(
            f"its report {report.kind} is not valid: {error.message}: {shown(report.body)}",
            f"see {report.kind} in the appendix of docs/protocol.md",
        ) from None


def _unknown(report: Report) -> tuple[str, str]:
    known = ", ".join(REPORTS)
    return (
        f"it sends a report of type {report.kind!r}, which fails the job",
        f"the property `type` of a report is one of {known}; without one it is finished",
    )


async def dropped(stage: Stage, job: HandedOut, what: str) -> None:
    """Return once the worker has dropped a job unrun.

    Args:
        stage: of the rehearsal.
        job: that must not run.
        what: it is, in words.

    Raises:
        Unmet: it ran, or was given back to the queue.
    """
    await stage.until(lambda: stage.settled(job) or stage.final(job))
    report = stage.final(job)
    if report is not None and report.kind == "failed":
        raise Unmet(
            f"it reports {what} as failed",
            "report `released` in place of `failed`, and acknowledge: look at the tokens before a "
            "job is started",
        )
    if report is not None:
        raise Unmet(f"it ran {what}: {report.kind}", "look at the tokens before a job is started")
    if not stage.settled(job):
        if not stage.delivered(job):
            raise Unmet(*why_no_report(stage, job))
        raise Unmet(
            f"it keeps the message of {what}", "acknowledge the message of a job that is dropped"
        )
    how = stage.journal.settlements(job.token)[-1].how
    if how != "ack":
        raise Unmet(
            f"it gives {what} back to the broker ({how})",
            "acknowledge it, after a report `released`",
        )
    await remark_unreleased(stage, job, what)


async def remark_unreleased(stage: Stage, job: HandedOut, what: str) -> None:
    """Remark that nobody was told that a job was dropped."""
    if not await stage.until(lambda: stage.journal.reports_on(job.token, "released"), GRACE):
        stage.remark(
            f"it drops {what} without a report `released`",
            "report `released`: else its workers are told of that job at each hello",
        )


def why_no_report(stage: Stage, job: HandedOut) -> tuple[str, str]:
    """Return why no report on a job has come, as far as it can be seen, and the advice."""
    deaths = [death for death in stage.deaths if death.at > job.at]
    if deaths and not stage.settled(job):
        return deaths[-1].text, "answer `failed` for what goes wrong in a job, and go on"
    if not stage.delivered(job):
        return next(_closings(stage, job), _untaken(stage))
    since = stage.journal.deliveries(job.token)[0].order
    return next(_signs(stage, job, since), _silence(stage, job))


def _untaken(stage: Stage) -> tuple[str, str]:
    if not stage.takes_jobs:
        return (
            f"it does not consume {stage.queue} any more",
            "consume the queue until it is told to stop, and again after each new connection",
        )
    return (
        f"it did not take the job within {stage.plan.patience:g} s",
        "it must consume the queue all the time, and settle each message that it was given",
    )


def _closings(stage: Stage, job: HandedOut) -> Iterator[tuple[str, str]]:
    """Yield why the broker closed a channel or connection since the job was handed out."""
    for refused in stage.journal.refusals(job.order):
        yield refusal(refused)


def refusal(refused: Refused) -> tuple[str, str]:
    """Return what the broker holds against a worker, and the advice."""
    advice = CLOSING_ADVICE.get(refused.code, "the broker's text says what it did wrong")
    return f"the broker closed its {refused.scope}: {refused.code} {refused.text}", advice


def _signs(stage: Stage, job: HandedOut, since: int) -> Iterator[tuple[str, str]]:
    journal = stage.journal
    for report in journal.reports:
        if report.order > since and report.kind not in REPORTS:
            yield _unknown(report)
        if report.order > since and report.kind == "batch":  # one that can be read is its items
            yield (
                f"its batch is not valid: {shown(report.body)}",
                "see batch in the appendix of docs/protocol.md",
            )
        if report.order > since and report.kind in FINAL and stage.is_stray(report):
            told = "none" if report.token is None else repr(report.token)
            yield (
                f"its report has not the job's correlation_id (it has {told})",
                "copy the property correlation_id of the job's message into the report",
            )
    for message in journal.published_elsewhere(since):
        yield (
            f"it published to exchange {message.exchange!r} with routing key "
            f"{message.routing_key!r}, where nobody reads it",
            "publish to the default exchange, with the job's reply_to as routing key",
        )
    for entry in journal.entries[since:]:
        if isinstance(entry.event, Returned):
            yield "its report reached no queue", "publish to the job's reply_to"


def _silence(stage: Stage, job: HandedOut) -> tuple[str, str]:
    settled = stage.journal.settlements(job.token)
    if settled and settled[-1].with_later:  # the next acknowledgement has cost it its channel
        return SEVERAL_AT_ONCE
    if settled:
        return (
            f"it settled the job's message ({settled[-1].how}) without a report",
            "publish the result to the job's reply_to, with its correlation_id, then acknowledge",
        )
    for closing in _closings(stage, job):
        return closing
    return (
        f"it took the job, and said nothing within {stage.plan.patience:g} s",
        "publish the result to the job's reply_to, with its correlation_id, then acknowledge; if "
        "its jobs take longer, raise --patience",
    )


def args_or_unchecked(args: bytes | None, option: str) -> bytes:
    """Return args that a check needs.

    Raises:
        Unchecked: none were given.
    """
    if args is None:
        raise Unchecked(f"--args was given and {option} was not: what to ask for is not known")
    return args


def shown(body: bytes) -> str:
    """Return the beginning of a body."""
    text = body.decode(errors="replace")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
