"""Claims: a job that may have ended, or been canceled, is asked about before it starts."""

from __future__ import annotations

from broker_queue.conformance.check import Check, Unchecked, Unmet
from broker_queue.conformance.copies import has_come_again
from broker_queue.conformance.journal import FINAL, Report
from broker_queue.conformance.looking import dropped, finish, result_of, why_no_report
from broker_queue.conformance.naming import check_names
from broker_queue.conformance.played import LEASE_AFTER, Conduct, HandedOut
from broker_queue.conformance.stage import Stage

ANSWER_DELAY = 0.4
"""Seconds that a worker has to wait for its answer: whoever does not wait is found out."""

CLAIMED = 1.0
"""Seconds that a claimed job takes: one that ends sooner after the answer was started before it."""

INACCURACY = 0.05
"""Seconds that a worker's clock may be off in them."""

LEASE_ASKED = LEASE_AFTER + 0.5
"""Seconds that a job takes which ends while it waits for its lease."""

ASKED_AGAIN_WITHIN = 13.0
"""Seconds; the protocol says ten or so."""

CLAIM_ADVICE = (
    "for a message that is redelivered, or has the header `republished`, send `started` with "
    "reply_to, and run the job only if the answer is `accepted`"
)


async def claim(stage: Stage) -> str:
    """A job that may have ended is claimed, and starts when the claim is accepted."""
    args = stage.plan.rehearsal.timed_args(CLAIMED)
    token = stage.scheduler.new_token()
    job = await stage.hand_out(
        args,
        token=token,
        headers={"republished": True},
        conduct=Conduct(delay=ANSWER_DELAY),
    )
    await _claimed(stage, job, "a job with the header `republished`", stage.plan.patience)
    token = stage.scheduler.new_token()
    was_cut = stage.cut_at_delivery(token)
    job = await stage.hand_out(args, token=token, conduct=Conduct(delay=ANSWER_DELAY))
    if not await stage.until(was_cut):
        raise Unmet(*why_no_report(stage, job))
    await _claimed(stage, job, "a redelivered job", stage.plan.start_timeout)
    return "claimed, then run"


async def _claimed(stage: Stage, job: HandedOut, what: str, seconds: float) -> None:
    report = await stage.ended(job, CLAIMED + seconds)
    if report is None:
        raise Unmet(*why_no_report(stage, job))
    if not _claims(stage, job):
        raise Unmet(f"it runs {what} without a claim", CLAIM_ADVICE)
    answered = stage.scheduler.answered.get((job.token, "started"))
    if answered is None or report.at < answered or _began_before(stage, job, report, answered):
        raise Unmet(f"it starts {what} before its claim is answered", CLAIM_ADVICE)
    result_of(report)
    check_names(stage, job)


def _began_before(stage: Stage, job: HandedOut, report: Report, answered: float) -> bool:
    """Whether a job that took its time cannot have begun after that."""
    given, least = stage.journal.deliveries(job.token)[-1].at, CLAIMED - INACCURACY
    took_its_time = stage.plan.rehearsal.gives_back_args and report.at - given >= least
    return took_its_time and report.at - answered < least


def _claims(stage: Stage, job: HandedOut) -> list[Report]:
    return [each for each in stage.journal.reports_on(job.token, "started") if each.wants_answer]


async def claim_refused(stage: Stage) -> str:
    """A job whose claim is refused never starts."""
    job = await stage.hand_out(
        stage.plan.rehearsal.normal_args(),
        headers={"republished": True},
        conduct=Conduct({"started": "canceled"}, delay=ANSWER_DELAY),
    )
    await stage.until(lambda: stage.settled(job) or stage.final(job))
    if stage.final(job) and not _claims(stage, job):
        raise Unmet("it runs a republished job without a claim", CLAIM_ADVICE)
    await dropped(stage, job, "a job whose claim was answered `canceled`")
    job = await stage.hand_out(stage.plan.rehearsal.normal_args())
    await finish(stage, job)
    await _not_run_again(stage, job)
    return "dropped unrun"


async def late_answer(stage: Stage) -> str:
    """A late answer to another question is not taken for that to a claim."""
    args = stage.plan.rehearsal.timed_args(LEASE_ASKED)
    job = await stage.hand_out(args, conduct=Conduct(late="lease"))
    await finish(stage, job, LEASE_ASKED + stage.plan.patience)
    if not stage.journal.reports_on(job.token, "lease"):
        raise Unchecked("no lease was asked for, so no answer to that can be late")
    await stage.until(lambda: not stage.journal.is_held(job.token))
    try:
        await _not_run_again(stage, job)
    except Unmet as unmet:
        if not _claims(stage, job):
            raise
        raise Unmet(
            "it runs a job again that has ended: it takes the late answer to `lease` for that to "
            "its claim",
            "give each question a message_id of its own, and look for it in the answers",
        ) from unmet
    return "told apart"


async def _not_run_again(stage: Stage, job: HandedOut) -> None:
    """Return if a job that has ended is not run a second time when its message comes again.

    Raises:
        Unmet: it is.
    """
    args = stage.plan.rehearsal.normal_args()
    copy = await stage.hand_out(args, token=job.token, headers={"republished": True})
    if not await stage.until(lambda: has_come_again(stage, copy)):
        raise Unmet(*why_no_report(stage, copy))
    if not await stage.until(lambda: not stage.journal.is_held(copy.token)):
        raise Unmet(
            "it keeps the message of a job that has ended, when it comes again",
            "acknowledge it: else it keeps its place in the prefetch",
        )
    if len(stage.journal.reports_on(job.token, *FINAL)) > 1:
        how = "though its claim is answered `stale`" if _claims(stage, job) else "without a claim"
        raise Unmet(
            f"it runs a job again that has ended, when its message comes again, {how}", CLAIM_ADVICE
        )


async def claim_unanswered(stage: Stage) -> str:
    """A job whose claim nobody answers does not start."""
    job = await stage.hand_out(
        stage.plan.rehearsal.normal_args(),
        headers={"republished": True},
        conduct=Conduct(unanswered=1),
    )
    if not await stage.until(lambda: stage.delivered(job)):
        raise Unmet(*why_no_report(stage, job))

    def asked_again() -> bool:
        return len(_claims(stage, job)) > 1

    await stage.until(
        lambda: asked_again() or stage.final(job) or stage.settled(job), ASKED_AGAIN_WITHIN
    )
    report, claims = stage.final(job), _claims(stage, job)
    if not claims:
        if report is None:
            raise Unmet(*why_no_report(stage, job))
        raise Unmet("it runs a republished job without a claim", CLAIM_ADVICE)
    if report is not None and (not asked_again() or report.order < claims[1].order):
        raise Unmet(
            f"it starts a job {report.at - claims[0].at:.1f} s after a claim that was not answered",
            "without an answer, send the claim again, and do not start the job: it may have ended, "
            "or been canceled",
        )
    if asked_again():
        await finish(stage, job)
        return f"asked again after {claims[1].at - claims[0].at:.1f} s, then run"
    if stage.settled(job):
        await dropped(stage, job, "a job whose claim was not answered")
        return "dropped unrun"
    stage.remark(
        f"it has not asked again {ASKED_AGAIN_WITHIN:g} s after a claim that was not answered",
        "send the claim again after ten seconds, say: an answer may be lost",
    )
    await stage.scheduler.cancel(job.token)
    return f"not started in {ASKED_AGAIN_WITHIN:g} s"


CHECKS = (
    Check("claim", "claims a job that may have ended before", claim),
    Check("claim_refused", "never starts a job whose claim is refused", claim_refused),
    Check("claim_unanswered", "never starts a job whose claim is not answered", claim_unanswered),
    Check("late_answer", "takes no late answer for that to its claim", late_answer),
)
