"""Level 3: hello, claims, leases, and stopping in order."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

from broker_queue.amqp.wiretap import Bound, Consumed, Delivered, Event, Opened
from broker_queue.conformance import claims, unbegun
from broker_queue.conformance.check import Check, Unmet
from broker_queue.conformance.claims import ANSWER_DELAY
from broker_queue.conformance.journal import FINAL, Report
from broker_queue.conformance.looking import (
    args_or_unchecked,
    dropped,
    finish,
    refusal,
    result_of,
    shown,
    valid,
    why_no_report,
)
from broker_queue.conformance.naming import check_names
from broker_queue.conformance.played import (
    HELLO_INTERVAL,
    LEASE,
    LEASE_AFTER,
    Conduct,
    HandedOut,
)
from broker_queue.conformance.stage import GRACE, Stage
from broker_queue.conformance.stopping import shutdown
from broker_queue.errors import RequestError
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import Hello

HELLOS_WITHIN = 5 * HELLO_INTERVAL
LEASE_WITHIN = LEASE_AFTER + 3.0

LEASED = LEASE_AFTER + 2 * LEASE
"""Seconds that a job takes which needs a lease and two heartbeats at least."""


async def hello(stage: Stage) -> str:
    """It says hello before it takes jobs, and again and again."""
    journal = stage.journal
    await stage.until(lambda: journal.hellos)
    if not journal.hellos:
        raise Unmet(
            "it sends no hello",
            "send a request `hello` at the start and every `hello_interval` seconds",
            ends=True,
        )
    told = _read_hello(journal.hellos[0])
    if stage.plan.job_type not in told.types:
        raise Unmet(
            f"its hello names the types {', '.join(told.types) or 'none'}",
            "name all types that it consumes: their queues are made for it",
        )
    _check_order(stage)
    count = len(journal.hellos)
    if not await stage.until(lambda: len(journal.hellos) >= count + 2, HELLOS_WITHIN):
        raise Unmet(
            f"it does not say hello again, though the answer named an interval of "
            f"{HELLO_INTERVAL:g} s",
            "send hello again every `hello_interval` seconds of the last answer: one who does not "
            "counts as gone",
        )
    if not told.leases:
        stage.remark(
            "its hello does not say that it takes leases",
            "set `leases` to true, so that `workers` and `doctor` know it",
        )
    return f"{told.worker}, {told.software or 'software not named'}"


async def canceled_in_hello(stage: Stage) -> str:
    """A job that the answer to a hello names as canceled never starts."""
    token = stage.scheduler.new_token()
    stage.scheduler.canceled.append(token)
    greeted = stage.scheduler.greeted
    try:
        if not await stage.until(lambda: stage.scheduler.greeted >= greeted + 2, HELLOS_WITHIN):
            raise Unmet("it says hello no more", "send hello every `hello_interval` seconds")
        await asyncio.sleep(GRACE)
        job = await stage.hand_out(stage.plan.rehearsal.normal_args(), token=token)
        await dropped(stage, job, "a job that the answer to its hello named as canceled")
    finally:
        stage.scheduler.canceled.remove(token)
    return "dropped unrun"


async def lease(stage: Stage) -> str:
    """A long job is held by a lease."""
    job = await _leased(stage, LEASED, Conduct(delay=ANSWER_DELAY))
    report = await stage.ended(job, LEASED + stage.plan.patience)
    if report is None:
        raise Unmet(*why_no_report(stage, job))
    result_of(report)
    beats = stage.journal.reports_on(job.token, "heartbeat", "lease")
    for beat in beats:
        valid(beat)
    check_names(stage, job)
    times = [beat.at for beat in beats] + [report.at]
    gap = max(later - earlier for earlier, later in pairwise(times))
    if gap > LEASE:
        raise Unmet(
            f"it was silent for {gap:.1f} s of a lease of {LEASE:g} s",
            "send `heartbeat` several times within each span of `lease` seconds that the last "
            "answer named",
        )
    if not all(beat.wants_answer for beat in beats):
        stage.remark(
            "its heartbeats ask for no answer, so it never learns that its job is gone",
            "set reply_to in heartbeats, and stop the job if the answer is not `accepted`",
        )
    if await stage.until(lambda: stage.journal.refusals(job.order), GRACE):
        text, advice = refusal(stage.journal.refusals(job.order)[0])
        raise Unmet(
            f"a leased job has ended, and {text}",
            f"its message was acknowledged when the lease was granted, and must not be again; {advice}",
        )
    return f"lease, then {len(beats) - 1} heartbeats, at most {gap:.1f} s apart"


async def lease_lost(stage: Stage) -> str:
    """A job whose heartbeat is refused is stopped."""
    job = await _leased(stage, LEASED, Conduct({"heartbeat": "stale"}))
    token = job.token
    if not await stage.until(lambda: (token, "heartbeat") in stage.scheduler.answered, LEASE * 2):
        raise Unmet("it keeps its lease with no heartbeat", "send heartbeats with reply_to")
    refused = stage.scheduler.answered[token, "heartbeat"]

    def late() -> list[Report]:
        reports = stage.journal.reports_on(token, *FINAL, "heartbeat")
        return [each for each in reports if each.at > refused + 2 * GRACE]

    if await stage.until(late, job.at + LEASED + 2 * GRACE - time.monotonic()):
        raise Unmet(
            f"it goes on with a job whose heartbeat was answered `stale` ({late()[0].kind})",
            "stop a job when an answer is not `accepted`: it is somebody else's now",
        )
    stage.forget(job)
    await finish(stage, await stage.hand_out(stage.plan.rehearsal.normal_args()))
    return "stopped"


async def held_through_cut(stage: Stage) -> str:
    """A leased job outlives the connection."""
    deaths = len(stage.deaths)
    job = await _leased(stage, LEASED + LEASE, Conduct())
    await asyncio.sleep(GRACE)  # until the broker has the acknowledgement, too
    cut_after = len(stage.journal.entries)
    stage.cut()

    def is_back() -> bool:
        return stage.journal.first(_opened, cut_after) is not None

    await stage.until(
        lambda: (is_back() and stage.takes_jobs) or len(stage.deaths) > deaths,
        stage.plan.start_timeout,
    )
    if len(stage.deaths) > deaths:
        raise Unmet(
            stage.deaths[-1].text,
            "a leased job needs no connection to go on: connect again, and send its heartbeats",
        )
    left = max(0.0, job.at + LEASED + LEASE - time.monotonic())
    report = await stage.ended(job, left + stage.plan.patience)
    if report is None:
        stage.forget(job)
        raise Unmet(
            "nothing was heard of a leased job after the connection was lost",
            "go on with a leased job while there is no connection, and send its heartbeats and "
            "its end over the next one",
        )
    beats = stage.journal.reports_on(job.token, "heartbeat", "lease")
    if not any(beat.order > cut_after for beat in beats):
        stage.remark(
            "it sent no heartbeat after its connection was lost",
            "send heartbeats as soon as there is a connection again",
        )
    result_of(report)
    return "went on, and was reported over the next connection"


async def _leased(stage: Stage, seconds: float, conduct: Conduct) -> HandedOut:
    """Return a job that the worker holds by a lease.

    Raises:
        Unmet: it takes none, or not in order.
        Unchecked: no job is known that takes so long.
    """
    args = args_or_unchecked(stage.plan.rehearsal.slow_args(seconds), "--slow-args")
    job = await stage.hand_out(args, conduct=conduct)
    token, journal = job.token, stage.journal
    await stage.until(lambda: journal.reports_on(token, "lease"), LEASE_WITHIN)
    asked = journal.reports_on(token, "lease")
    advice = (
        "when a job has run for `lease_after` seconds, send `lease` with reply_to, acknowledge its "
        "message when the answer is `accepted`, then send heartbeats"
    )
    if not asked:
        raise Unmet(f"it asks for no lease within {LEASE_WITHIN:g} s", advice)
    valid(asked[0])
    if not asked[0].wants_answer:
        raise Unmet("it asks for a lease without reply_to, and is not answered", advice)
    if not await stage.until(lambda: stage.settled(job), conduct.delay + stage.plan.patience):
        raise Unmet("it does not acknowledge the message of a job that it holds by lease", advice)
    answered = stage.scheduler.answered.get((token, "lease"))
    if answered is None or journal.settlements(token)[0].at < answered:
        raise Unmet("it acknowledges before its lease is granted", advice)
    return job


def _read_hello(request: Report) -> Hello:
    try:
        told = decode(request.body, Hello)
    except RequestError as error:
        raise Unmet(
            f"its hello is not valid: {error.message}: {shown(request.body)}",
            "see hello in the appendix of docs/protocol.md",
        ) from None
    if not request.wants_answer:
        raise Unmet("its hello has no reply_to", "have it answered: the answer has the settings")
    return told


def _opened(event: Event) -> bool:
    return isinstance(event, Opened)


def _disorder(said: list[int], hears: bool, control: str) -> str:
    if not said:
        return "it takes jobs before its hello"
    return f"it says hello before it hears {control}" if hears else f"it does not hear {control}"


def _check_order(stage: Stage) -> None:
    """Return if control messages are heard, then hello is said, then jobs are taken.

    Raises:
        Unmet: a cancel may fall in between.
    """
    journal, control = stage.journal, stage.plan.names.control
    queues = {binding.queue for binding in journal.control_bindings()}
    bound = journal.first(lambda event: isinstance(event, Bound) and event.exchange == control)
    heard = journal.first(lambda event: isinstance(event, Consumed) and event.queue in queues)
    taken = journal.first(lambda event: isinstance(event, Consumed) and event.queue == stage.queue)
    said = [each.order for each in journal.hellos if taken is None or each.order < taken]
    if said and bound is not None and heard is not None and max(bound, heard) < said[-1]:
        _check_answer_was_read(stage, taken)
        return
    raise Unmet(
        _disorder(said, bound is not None and heard is not None, control),
        "declare, bind and consume the control queue, then send hello and read its answer, then "
        "consume the job queues: so no cancel falls in between",
    )


def _check_answer_was_read(stage: Stage, taken: int | None) -> None:
    """Return if a hello was answered before jobs are taken.

    Raises:
        Unmet: what its answer cancels may have begun.
    """
    asked = {hello.token for hello in stage.journal.hellos}
    answered = stage.journal.first(
        lambda event: (
            isinstance(event, Delivered)
            and not event.exchange
            and event.properties.correlation_id in asked
        )
    )
    if answered is None or (taken is not None and taken < answered):
        raise Unmet(
            "it takes jobs before its hello is answered",
            "read the answer first: it names canceled jobs, and the queues to be consumed",
        )


CHECKS = (
    Check("hello", "says hello before it takes jobs, and again", hello),
    Check("canceled_in_hello", "never starts what the answer to hello cancels", canceled_in_hello),
    *claims.CHECKS,
    Check("lease", "holds a long job by a lease", lease),
    Check("lease_lost", "stops a job whose lease is lost", lease_lost),
    Check("held_through_cut", "keeps a leased job through a lost connection", held_through_cut),
    *unbegun.CHECKS,
    Check("shutdown", "ends or gives back its jobs when it is told to stop, and says so", shutdown),
)
