"""Level 1: a job is an RPC call."""

from __future__ import annotations

import json
from collections.abc import Sequence

from broker_queue.amqp.wiretap import Confirmed, ConfirmsAsked, Declared
from broker_queue.conformance.check import Check, Unchecked, Unmet
from broker_queue.conformance.journal import FINAL, Report
from broker_queue.conformance.looking import (
    CLOSING_ADVICE,
    acknowledged,
    finish,
    refusal,
    shown,
    why_no_report,
)
from broker_queue.conformance.played import HandedOut
from broker_queue.conformance.process import Death
from broker_queue.conformance.rehearsal import ODD_ARGS, Likeness, likeness
from broker_queue.conformance.stage import Stage
from broker_queue.conformance.stopping import stop
from broker_queue.protocol.results import TEXT

SEVERAL = 20

SLOWER = 0.3
"""Seconds that the first of them takes: the others overtake it, if several run at once."""

MAX_CRASHES = 3
"""Times that a worker may end, or be refused, before it has taken the first job."""


async def consumes(stage: Stage) -> str:
    """The queue of the type is consumed, with acknowledgement."""
    queue, journal = stage.queue, stage.journal
    await stage.until(
        lambda: journal.consumers(queue) or _is_hopeless(stage),
        stage.plan.start_timeout,
    )
    consumers = journal.consumers(queue)
    if not consumers:
        raise Unmet(*_why_not_consumed(stage), ends=True)
    if any(consumer.no_ack for consumer in consumers):
        raise Unmet(
            "it consumes with automatic acknowledgement: what it was given is gone from the broker",
            "consume with no_ack (auto_ack, autoAck, noAck) off, and acknowledge after the report",
        )
    prefetch = min(consumer.prefetch for consumer in consumers)
    if not prefetch:
        stage.remark(
            "it sets no prefetch, and is given the whole queue at once",
            "basic.qos with a prefetch_count of about the jobs that it runs at once",
        )
    declared = [entry.event for entry in journal.entries if isinstance(entry.event, Declared)]
    if any(each.queue == queue and not each.passive for each in declared):
        stage.remark(
            f"it declares queue {queue} itself",
            "leave that to the scheduler: declared otherwise, the queue has no delivery limit and "
            "no dead letters, or the broker refuses with 406; wait while it answers 404",
        )
    return f"it consumes {queue}, prefetch {prefetch or 'without bound'}"


async def result(stage: Stage) -> str:
    """A job is answered with its result, then acknowledged."""
    token = stage.scheduler.new_token()
    stage.delay_confirm(token)
    job = await stage.hand_out(stage.plan.rehearsal.normal_args(), token=token)
    try:
        found = await finish(stage, job)
    except Unmet as unmet:
        settles = stage.final(job) is not None and stage.settled(job)
        raise Unmet(unmet.text, unmet.advice, ends=not settles) from None
    _check_result(stage, job, found)
    report = stage.final(job)
    if report is not None:
        _remark_delivery(stage, job, report)
    return f"result {shown(found)}"


async def several(stage: Stage) -> str:
    """Each of several jobs is answered once, with its own result."""
    rehearsal = stage.plan.rehearsal
    quick = [rehearsal.normal_args(number) for number in range(1, SEVERAL)]
    jobs = [await stage.hand_out(args) for args in (rehearsal.timed_args(SLOWER), *quick)]
    await _all_ended(stage, jobs)
    for job in jobs:
        _check_result(stage, job, await finish(stage, job, 0.0))
    last = await stage.hand_out(stage.plan.rehearsal.normal_args())
    await finish(stage, last)
    for job in (*jobs, last):
        count = len(stage.journal.reports_on(job.token, *FINAL))
        if count > len(stage.journal.deliveries(job.token)):  # one that comes again is done again
            raise Unmet(
                f"it reported {count} times on one job",
                "publish one report, and acknowledge once: only the first counts",
            )
    return f"{SEVERAL} jobs, each answered once"


async def odd_args(stage: Stage) -> str:
    """Args are passed on as they are: Unicode, large numbers, nesting, 100 kB."""
    if not stage.plan.rehearsal.gives_back_args:
        raise Unchecked("--args was given, so results are not known beforehand")
    rounded = 0
    for args in ODD_ARGS:
        job = await stage.hand_out(args)
        found = await finish(stage, job)
        like = _likeness(args, found)
        rounded += like is Likeness.ROUNDED
        if like is Likeness.OTHER:
            raise Unmet(
                f"the args {shown(args)} came back as {shown(found)}",
                "read and write JSON as UTF-8, and give back the args as they came",
            )
    if rounded:
        stage.remark(
            "it rounds large or exact numbers",
            "keep the JSON text where a job only passes it on, or use a parser for large numbers",
        )
    return f"{len(ODD_ARGS)} odd args came back"


async def redelivery(stage: Stage) -> str:
    """A job whose report is lost with the connection is done again."""
    deaths, connections = len(stage.deaths), stage.journal.connections()
    token = stage.scheduler.new_token()
    was_cut = stage.cut_at_report(token)
    job = await stage.hand_out(stage.plan.rehearsal.normal_args(), token=token)
    if not await stage.until(was_cut):
        raise Unmet(*why_no_report(stage, job))
    report = await stage.ended(job, stage.plan.start_timeout)
    if report is None:
        if stage.journal.connections() == connections:
            raise Unmet(
                f"it did not connect again within {stage.plan.start_timeout:g} s after its "
                "connection was lost",
                "connect again when the connection is lost, with growing pauses; or end, and let "
                "something start it again",
                ends=True,
            )
        raise Unmet(*why_no_report(stage, job))
    await acknowledged(stage, job, report)
    if len(stage.deaths) > deaths:
        stage.remark(
            "it ended when its connection was lost, and the kit started it again",
            "connect again with growing pauses, or see to it that something starts it again",
        )
        return "started again, it did the job"
    return "it connected again, and did the job"


async def _all_ended(stage: Stage, jobs: Sequence[HandedOut]) -> None:
    """Wait for as long as one after the other ends."""

    def count() -> int:
        return sum(stage.final(job) is not None for job in jobs)

    before = -1
    while before < count() < len(jobs):
        before = count()
        await stage.until(lambda: count() > before)  # noqa: B023  # waited for at once


def _likeness(args: bytes, found: bytes) -> Likeness:
    try:
        return likeness(args, found)
    except ValueError:
        return Likeness.OTHER


def _check_result(stage: Stage, job: HandedOut, found: bytes) -> None:
    if stage.plan.rehearsal.gives_back_args and _likeness(job.args, found) is Likeness.OTHER:
        if _content_type(stage, job).startswith(TEXT):
            raise Unmet(
                f"its report has content_type text/plain, which makes each result a string: {shown(found)}",
                "leave the content_type out, and write the result as JSON",
            )
        if _is_encoded_twice(job.args, found):
            raise Unmet(
                f"its result is encoded twice, as JSON within a JSON string: {shown(found)}",
                "write the result as JSON once",
            )
        raise Unmet(
            f"the job with args {shown(job.args)} has the result {shown(found)}",
            "a rehearsal job gives back its args; for jobs of another kind give --args",
        )


def _content_type(stage: Stage, job: HandedOut) -> str:
    report = stage.final(job)
    return ((report and report.message.properties.content_type) or "").lower()


def _is_encoded_twice(args: bytes, found: bytes) -> bool:
    within = json.loads(found)
    return isinstance(within, str) and _likeness(args, within.encode()) is not Likeness.OTHER


def _remark_delivery(stage: Stage, job: HandedOut, report: Report) -> None:
    events = [entry.event for entry in stage.journal.entries]
    channel = report.message.channel
    if ConfirmsAsked(channel) not in events:
        stage.remark(
            "it does not have its reports confirmed: one that the broker never got is lost",
            "confirm.select on its channel, and acknowledge the job when the confirm has come",
        )
        return
    settlements = stage.journal.settlements(job.token)
    if settlements and Confirmed(channel) not in events[report.order : settlements[0].order]:
        stage.remark(
            "it acknowledges the job before its report is confirmed",
            "wait for the broker's confirm of the report, then acknowledge",
        )


def _is_hopeless(stage: Stage) -> bool:
    """Whether a worker that has not begun yet never will; a queue that is not there may come."""
    refused = [each for each in stage.journal.refusals() if each.code != 404]
    return max(len(stage.deaths), len(refused)) >= MAX_CRASHES


def _why_not_consumed(stage: Stage) -> tuple[str, str]:
    journal = stage.journal
    seconds = f"within {stage.plan.start_timeout:g} s"
    if journal.refusals():
        text, advice = refusal(journal.refusals()[-1])
        return "\n".join([text, *(death.text for death in stage.deaths[-1:])]), advice
    if stage.deaths:
        return _why_it_ended(stage.deaths)
    if not journal.connections():
        return (
            f"nobody connected {seconds}",
            "the worker must connect to the URL in BROKER_QUEUE_URL",
        )
    others = ", ".join(journal.consumed()) or "no queue"
    return (
        f"it connected, and consumes {others} in place of {stage.queue}",
        CLOSING_ADVICE[404],
    )


def _why_it_ended(deaths: Sequence[Death]) -> tuple[str, str]:
    times = "once" if len(deaths) == 1 else f"{len(deaths)} times"
    fails = deaths[-1].code and deaths[-1].output
    return (
        f"started {times}, {deaths[-1].text}",
        "it fails at its start: see what it prints"
        if fails
        else "it ends at its start, and must run until it is told to stop",
    )


CHECKS = (
    Check("consume", "consumes the queue of its type, with acknowledgement", consumes),
    Check("result", "answers a job with its result, then acknowledges", result),
    Check("several", "answers each of several jobs once", several),
    Check("odd_args", "passes on any JSON", odd_args),
    Check("redelivery", "does a job again whose report was lost with the connection", redelivery),
    Check("stop", "ends when it is told to stop, and loses no job", stop),
)
