"""The message of a job that comes again while the job runs."""

from __future__ import annotations

import time

from broker_queue.conformance.check import Unmet
from broker_queue.conformance.journal import FINAL
from broker_queue.conformance.looking import args_or_unchecked, why_no_report
from broker_queue.conformance.played import Conduct, HandedOut
from broker_queue.conformance.stage import GRACE, Stage

COPIED = 1.5
"""Seconds that a job takes whose message comes a second time."""

CUT_OFF = 3.0
"""Seconds that a job takes whose connection is lost: until the worker has another, most times."""

OF_ANOTHER_KIND = 10.0
"""Seconds that a job takes where ``--slow-args`` say what it does."""

STARTED_WITHIN = 0.5
"""Seconds: before it takes a lease, in any case."""

BOTH_RUN_ON = Conduct({"lease": "accepted", "heartbeat": "accepted"})
"""No run is stopped because the other has ended: a second one shall be seen to its end."""

ADVICE = (
    "remember the tokens of what runs: acknowledge one of two messages at once; after a lost "
    "connection the new message takes the place of the lost one, and the job is not started again"
)


async def copies(stage: Stage) -> str:
    """A job whose message comes again while it runs is not started a second time."""
    job = await _running(stage, COPIED)
    copy = await stage.hand_out(job.args, token=job.token, headers={"republished": True})
    await _ended(stage, job, COPIED)
    came_while_it_ran = _came_while_it_ran(stage, copy)
    _look_at(stage, copy, "whose message comes again while it runs")
    job = await _running(stage, CUT_OFF)
    stage.cut()
    await _ended(stage, job, CUT_OFF, stage.plan.start_timeout)
    _look_at(stage, job, "that runs while its connection is lost")
    await _end_in_between(stage)
    if stage.remarks:
        return ""
    if not came_while_it_ran:
        return "the second message came only after the end: nothing is known"
    return "run once for two messages"


def has_come_again(stage: Stage, job: HandedOut) -> bool:
    """Whether the worker was given the message of a job twice."""
    return len(stage.journal.deliveries(job.token)) > 1


async def _end_in_between(stage: Stage) -> None:
    """Remark that the end of a job is told twice that ends while a new connection is being made."""
    if not stage.plan.rehearsal.gives_back_args:
        return  # nobody knows when it ends
    job = await _running(stage, COPIED)
    end = stage.journal.deliveries(job.token)[0].at + COPIED
    stage.cut(end + GRACE - time.monotonic())
    await _ended(stage, job, COPIED, stage.plan.start_timeout)
    if await stage.until(lambda: _ends(stage, job) > 1, GRACE):
        stage.remark(
            "a job that ends while a new connection is being made is reported as ended "
            f"{_ends(stage, job)} times",
            "report it once over the new connection, and acknowledge the message that comes again "
            "for it: the end of a job may become known while the connection is being made",
        )


async def _running(stage: Stage, seconds: float) -> HandedOut:
    """Return a job that runs, as far as can be seen."""
    args = args_or_unchecked(stage.plan.rehearsal.slow_args(seconds), "--slow-args")
    job = await stage.hand_out(args, conduct=BOTH_RUN_ON)
    if not await stage.until(lambda: stage.delivered(job)):
        raise Unmet(*why_no_report(stage, job))
    await stage.until(lambda: stage.journal.reports_on(job.token, "started"), STARTED_WITHIN)
    return job


async def _ended(stage: Stage, job: HandedOut, seconds: float, pause: float = 0.0) -> None:
    """Wait until the end of a job is reported, and a second run of it would have ended, too.

    Args:
        stage: of the rehearsal.
        job: whose message comes twice.
        seconds: that it takes.
        pause: seconds in which its message may not come again, since there is no connection.

    Raises:
        Unmet: its end is not reported.
    """
    if not stage.plan.rehearsal.gives_back_args:
        seconds = OF_ANOTHER_KIND
    limit = seconds + stage.plan.patience
    if await stage.ended(job, pause + limit) is None:
        raise Unmet(*why_no_report(stage, job))
    await stage.until(lambda: has_come_again(stage, job))
    await stage.until(lambda: not stage.journal.is_held(job.token), limit)
    if stage.journal.reports_on(job.token, "lease"):  # a second run would hold no message
        began = stage.journal.deliveries(job.token)[-1].at
        left = began + seconds + GRACE - time.monotonic()
        await stage.until(lambda: _ends(stage, job) > 1, max(0.0, left))


def _ends(stage: Stage, job: HandedOut) -> int:
    return len(stage.journal.reports_on(job.token, *FINAL))


def _came_while_it_ran(stage: Stage, job: HandedOut) -> bool:
    end = stage.final(job)
    deliveries = stage.journal.deliveries(job.token)
    # What is given to a worker in the very moment in which it reports may reach it afterwards.
    return end is not None and len(deliveries) > 1 and deliveries[1].at + GRACE < end.at


def _look_at(stage: Stage, job: HandedOut, what: str) -> None:
    """Remark what is not as it should be with a job whose message has come again."""
    if not _came_while_it_ran(stage, job):
        return
    times = _ends(stage, job)
    if times > 1:
        stage.remark(f"it starts a job again {what}: {times} reports of its end", ADVICE)
    elif stage.journal.reports_on(job.token, "released"):
        stage.remark(
            f"it reports `released` of a job {what}, and runs it to its end",
            "only acknowledge the second message: a job that is released is handed out again",
        )
    elif stage.journal.is_held(job.token):
        stage.remark(f"it keeps the second message of a job {what}", ADVICE)
