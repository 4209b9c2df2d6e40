"""Jobs that a worker has not begun when its connection is lost: they are somebody else's by then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias

from broker_queue.conformance.check import Check, Unchecked, Unmet
from broker_queue.conformance.claims import CLAIM_ADVICE, CLAIMED
from broker_queue.conformance.copies import STARTED_WITHIN
from broker_queue.conformance.journal import FINAL, Report
from broker_queue.conformance.looking import args_or_unchecked, why_no_report
from broker_queue.conformance.played import LEASE, LEASE_AFTER, HandedOut
from broker_queue.conformance.stage import GRACE, Cut, Stage
from broker_queue.errors import RequestError
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import Hello

FULL_FOR = 40.0
"""Seconds that jobs take all slots, if they are not canceled before: longer than is looked at."""

MOST = 100
"""Jobs: who runs more at once is not filled up."""

GIVEN_BACK_WITHIN = 5.0
"""Seconds that a job waits for a slot before it is given back; the protocol says some."""

LATER = 0.2
"""Share of the patience, for what a worker does after a known time."""

ENDS = FINAL | {"released"}

FORGET_ADVICE = (
    "forget what has not begun as soon as the connection is lost, with its timers and reports: its "
    "message comes again, to this worker or to another, with the same token"
)

REPEAT_ADVICE = (
    "do not publish a `released` again over the next connection: the job has the same token when "
    "it is delivered again, so the report takes it away from whoever has begun it, and it runs twice"
)


class Loss(NamedTuple):
    """The connection is lost while a job waits for its slot."""

    cut: Cut
    is_given_back: bool
    """In place of its ``released``."""


Moment: TypeAlias = Callable[[Stage, HandedOut], Awaitable[Loss | None]]
"""When the connection is lost; None if the job does not come so far."""


async def unbegun_at_cut(stage: Stage) -> str:
    """What it has not begun, it forgets with the connection."""
    moments = [_while_it_waits, _as_it_is_given_back]
    seen = await _look(stage, moments)
    if not seen:
        return "it holds no job that it cannot begin: nothing is known"
    if seen < len(moments):  # it takes nothing over a new connection as long as it has no slot
        await _look(stage, moments[seen:])
    return "forgotten, and done when it came again"


async def _look(stage: Stage, moments: Sequence[Moment]) -> int:
    """Return how many moments were looked at with one job: as long as it waits for a slot.

    Raises:
        Unmet: it was not forgotten, or not done in the end.
        Unchecked: not all slots can be filled.
    """
    held: list[HandedOut] = []
    loss, seen = None, 0
    try:
        await _fill(stage, held)
        job = await stage.hand_out(stage.plan.rehearsal.timed_args(CLAIMED))
        has_come = await _waits(stage, job)
        while has_come and seen < len(moments):
            latest = await moments[seen](stage, job)
            seen, loss = seen + 1, latest or loss
            has_come = latest is not None and _again(stage, job, latest.cut) is not None
        await _make_room(stage, held)
        await _done(stage, job, loss)
    except (Unmet, Unchecked):
        await _make_room(stage, held)
        raise
    if loss is not None:
        _check_what_was_said(stage, job, loss)
    return seen


def _later(stage: Stage) -> float:
    return LATER * stage.plan.patience


async def _fill(stage: Stage, held: list[HandedOut]) -> None:
    """Hand out as many jobs as run at once, and return when they are held by lease.

    Raises:
        Unchecked: they are not, or nobody knows how many run at once, or they cannot be canceled.
    """
    if not _hears(stage):
        raise Unchecked("it hears no control messages: what takes its slots could not be canceled")
    slots = _concurrency(stage)
    args = args_or_unchecked(stage.plan.rehearsal.slow_args(FULL_FOR), "--slow-args")
    held += await asyncio.gather(*(stage.hand_out(args) for _ in range(slots)))

    def are_leased() -> bool:
        return all(stage.journal.reports_on(job.token, "lease") for job in held)

    def is_full() -> bool:
        return are_leased() and all(stage.settled(job) for job in held)

    if not await stage.until(is_full, LEASE_AFTER + 2 * stage.plan.patience):
        raise Unchecked(
            f"it does not hold by lease the {slots} jobs that it runs at once by its hello: no "
            "other one is seen to wait"
        )


def _concurrency(stage: Stage) -> int:
    """Return how many jobs it runs at once, as it says."""
    try:
        slots = decode(stage.journal.hellos[-1].body, Hello).concurrency
    except (IndexError, RequestError):
        raise Unchecked("its hello does not say how many jobs it runs at once") from None
    if slots > MOST:
        raise Unchecked(f"it runs {slots} jobs at once, which are too many to be handed out here")
    return slots


async def _waits(stage: Stage, job: HandedOut) -> bool:
    """Whether the worker has the message of a job that it cannot begin."""
    if not await stage.until(lambda: stage.delivered(job), _later(stage)):
        # Who takes no more than he has slots for may do so only over the next connection.
        await _back(stage, job, stage.cut())
    await stage.until(lambda: stage.journal.reports_on(job.token), STARTED_WITHIN)
    return stage.journal.is_held(job.token) and not stage.journal.reports_on(job.token)


async def _while_it_waits(stage: Stage, job: HandedOut) -> Loss:
    """Break the connection for so long that the job would be given back meanwhile."""
    loss = Loss(stage.cut(GIVEN_BACK_WITHIN + _later(stage)), is_given_back=False)
    await _back(stage, job, loss.cut)
    _check_silence(stage, job, loss)
    return loss


async def _as_it_is_given_back(stage: Stage, job: HandedOut) -> Loss | None:
    """Break the connection in place of passing on the job's ``released``, if one comes."""
    was_cut = stage.cut_at_report(job.token, {"released"})
    limit = GIVEN_BACK_WITHIN + _later(stage)
    await stage.until(lambda: was_cut() or stage.journal.reports_on(job.token), limit)
    stage.cut_no_more()
    cut = was_cut()
    if cut is None:
        return None
    loss = Loss(cut, is_given_back=True)
    await _back(stage, job, loss.cut)
    _check_silence(stage, job, loss)
    return loss


async def _back(stage: Stage, job: HandedOut, cut: Cut) -> None:
    """Return when the worker has a new connection, and had its time to be given the job over it."""

    def has_come() -> bool:
        return bool(_said(stage, job, cut)) or _again(stage, job, cut) is not None

    def is_back() -> bool:
        return has_come() or any(stage.is_since(hello.order, cut) for hello in stage.journal.hellos)

    await stage.until(is_back, GIVEN_BACK_WITHIN + stage.plan.start_timeout)
    await stage.until(has_come, _later(stage))  # or never, while it has no slot


async def _make_room(stage: Stage, held: list[HandedOut]) -> None:
    """Cancel the jobs that take all slots."""
    if not _hears(stage):
        await stage.until(lambda: _hears(stage))
        await asyncio.sleep(GRACE)  # until its queue is bound in any case
    await stage.scheduler.cancel(*(job.token for job in held))

    def left() -> list[HandedOut]:
        return [job for job in held if stage.delivered(job) and not _is_over(stage, job)]

    def go_on() -> bool:
        since = time.monotonic() - LEASE
        return any(_beats(stage, job, since) for job in left())

    await stage.until(lambda: not left())
    await stage.until(lambda: not go_on(), FULL_FOR)  # who does not stop them, ends them


def _is_over(stage: Stage, job: HandedOut) -> bool:
    return bool(stage.journal.reports_on(job.token, *ENDS))


def _beats(stage: Stage, job: HandedOut, since: float) -> bool:
    beats = stage.journal.reports_on(job.token, "lease", "heartbeat")
    return any(beat.at > since for beat in beats)


def _hears(stage: Stage) -> bool:
    """Whether the worker is there to be told that jobs are canceled."""
    journal = stage.journal
    return any(journal.is_consumed(binding.queue) for binding in journal.control_bindings())


async def _done(stage: Stage, job: HandedOut, loss: Loss | None) -> None:
    """Return when the job is done or given back, after its message has come for the last time.

    Raises:
        Unmet: it is not.
    """

    def is_over() -> bool:
        return any(report.kind in ENDS for report in _said_at_last(stage, job, loss))

    def has_come() -> bool:
        return loss is None or _again(stage, job, loss.cut) is not None

    await stage.until(lambda: stage.delivered(job) and has_come(), stage.plan.start_timeout)
    if not await stage.until(is_over, CLAIMED + stage.plan.patience):
        raise Unmet(*why_no_report(stage, job))
    await stage.until(lambda: not stage.journal.is_held(job.token))
    if loss is not None:
        await asyncio.sleep(GRACE)  # for what is said once more


def _again(stage: Stage, job: HandedOut, cut: Cut) -> int | None:
    """Return where in the journal the message of a job came first after a cut."""
    orders = (each.order for each in stage.journal.deliveries(job.token))
    return next((order for order in orders if stage.is_since(order, cut)), None)


def _said(stage: Stage, job: HandedOut, cut: Cut) -> list[Report]:
    """Return what was said of a job after a cut."""
    reports = stage.journal.reports_on(job.token)
    return [each for each in reports if stage.is_since(each.order, cut)]


def _said_early(stage: Stage, job: HandedOut, cut: Cut) -> list[Report]:
    """Return what was said of a job after a cut, before its message came again."""
    again = _again(stage, job, cut)
    return [each for each in _said(stage, job, cut) if again is None or each.order < again]


def _said_at_last(stage: Stage, job: HandedOut, loss: Loss | None) -> list[Report]:
    """Return what was said of a job since its message came after the last loss, if there was one."""
    if loss is None:
        return stage.journal.reports_on(job.token)
    again = _again(stage, job, loss.cut)
    said = _said(stage, job, loss.cut)
    return [each for each in said if again is not None and each.order > again]


def _check_silence(stage: Stage, job: HandedOut, loss: Loss) -> None:
    """Return if nothing was said of a job that had not begun, until its message came again.

    Raises:
        Unmet: it was not forgotten.
    """
    for report in _said_early(stage, job, loss.cut):
        what = "claims" if report.kind == "started" and report.wants_answer else "reports"
        raise Unmet(
            f"after its connection was lost, it {what} a job that it had not begun ({report.kind}), "
            "before the job's message has come again",
            REPEAT_ADVICE if report.kind == "released" and loss.is_given_back else FORGET_ADVICE,
        )


def _check_what_was_said(stage: Stage, job: HandedOut, loss: Loss) -> None:
    """Return if a job was begun anew when its message had come again.

    Raises:
        Unmet: it was begun with the lost message, or taken away from who has begun it.
    """
    _check_silence(stage, job, loss)
    said = _said_at_last(stage, job, loss)
    claims = [each for each in said if each.kind == "started" and each.wants_answer]
    if all(report.kind == "released" or report in claims for report in said):
        return  # given back
    if any(report.kind == "released" for report in said):
        raise Unmet(
            "it reports `released` of a job whose message has come again over the next "
            "connection, and runs it",
            REPEAT_ADVICE,
        )
    if not claims:
        raise Unmet(
            "it runs a job without a claim that waited for a slot when the connection was lost, "
            "though its message has come again",
            f"{FORGET_ADVICE}; {CLAIM_ADVICE}",
        )


CHECKS = (
    Check(
        "unbegun_at_cut",
        "forgets a job that it has not begun when its connection is lost",
        unbegun_at_cut,
    ),
)
