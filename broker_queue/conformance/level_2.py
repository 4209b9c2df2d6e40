"""Level 2: failures with their reasons, jobs that are seen to run, cancels."""

from __future__ import annotations

import asyncio

from broker_queue.conformance.check import Check, Unmet
from broker_queue.conformance.copies import OF_ANOTHER_KIND, copies
from broker_queue.conformance.looking import (
    acknowledged,
    args_or_unchecked,
    dropped,
    finish,
    remark_unreleased,
    valid,
    why_no_report,
)
from broker_queue.conformance.played import HandedOut
from broker_queue.conformance.rehearsal import FAILURE
from broker_queue.conformance.stage import GRACE, Stage
from broker_queue.conformance.stopping import stop_in_order
from broker_queue.protocol.messages import CancelControl, encode
from broker_queue.protocol.reports import Failed

SLOW = 4.0
"""Times the patience that a job takes which is canceled."""

STARTED_WITHIN = 1.0
"""Seconds; the protocol says some 50 ms, which busy machines may miss."""

NAMED = 0.8
"""Seconds that a job takes which a message names meanwhile: none in which a lease is taken."""

LONG_ENOUGH = 2.0
"""Seconds that a job takes which must be seen to run."""


async def failed(stage: Stage) -> str:
    """A job that fails is reported with code and message."""
    args = args_or_unchecked(stage.plan.rehearsal.failing_args(), "--failing-args")
    job = await stage.hand_out(args)
    body = await _failure(stage, job, "a job that fails")
    if stage.plan.rehearsal.gives_back_args and FAILURE not in body.message:
        stage.remark(
            f"the failure's message is {body.message!r}, not that of the job ({FAILURE!r})",
            "put the text of the error into `message`: it is what people see",
        )
    return f"failed, code {body.code!r}, message {body.message!r}"


async def malformed(stage: Stage) -> str:
    """Args that the worker does not understand fail the job, and nothing else."""
    args = args_or_unchecked(stage.plan.rehearsal.malformed_args(), "--malformed-args")
    deaths = len(stage.deaths)
    job = await stage.hand_out(args)
    body = await _failure(stage, job, "a job with args that it cannot use")
    if body.retry:
        stage.remark(
            "it lets a job with wrong args be tried again",
            "report `failed` with `retry` false: the next attempt has the same args",
        )
    await finish(stage, await stage.hand_out(stage.plan.rehearsal.normal_args()))
    if len(stage.deaths) > deaths:
        raise Unmet(stage.deaths[-1].text, "answer `failed` for what goes wrong, and go on")
    return f"failed, code {body.code!r}, and the next job was done"


async def started(stage: Stage) -> str:
    """A job that takes a while is seen to run."""
    args = args_or_unchecked(stage.plan.rehearsal.slow_args(LONG_ENOUGH), "--slow-args")
    job = await stage.hand_out(args)
    await stage.until(lambda: stage.journal.reports_on(job.token, "started") or stage.final(job))
    reports = stage.journal.reports_on(job.token, "started")
    final, given = stage.final(job), stage.journal.deliveries(job.token)
    if not given:
        raise Unmet(*why_no_report(stage, job))
    if not reports:
        if final is not None and final.at < given[0].at + STARTED_WITHIN:
            raise Unmet(
                "a slow job ended at once, so nothing can be seen of it",
                "a rehearsal job takes as long as `seconds` says; for jobs of another kind give "
                "--slow-args",
            )
        raise Unmet(
            "it does not say that a job has started",
            "report `started` when a job has run for some 50 ms: then it is shown as running, and "
            "its time limit is kept",
        )
    valid(reports[0])
    after = reports[0].at - given[0].at
    if after > STARTED_WITHIN:
        stage.remark(
            f"it reports `started` only {after:.1f} s after it was given the job",
            "report it when a job has run for some 50 ms",
        )
    return f"started after {after * 1000:.0f} ms"


async def cancel_running(stage: Stage) -> str:
    """A running job that is canceled is stopped."""
    args = args_or_unchecked(
        stage.plan.rehearsal.slow_args(SLOW * stage.plan.patience), "--slow-args"
    )
    _check_binding(stage)
    job = await stage.hand_out(args)
    if not await stage.until(lambda: stage.delivered(job)):
        raise Unmet(*why_no_report(stage, job))
    await stage.until(lambda: stage.journal.reports_on(job.token, "started"), STARTED_WITHIN / 2)
    await _check_foreign_cancel(stage, job)
    await stage.scheduler.cancel(job.token)
    told = asyncio.get_running_loop().time()

    def has_stopped() -> bool:
        if stage.journal.reports_on(job.token, "lease"):  # so its message says nothing
            return bool(stage.journal.reports_on(job.token, "released"))
        return stage.settled(job) or bool(stage.journal.reports_on(job.token, "released"))

    await stage.until(lambda: has_stopped() or stage.final(job))
    report = stage.final(job)
    if report is not None and report.kind != "failed":
        raise Unmet(
            f"it reports {report.kind} of a job that was canceled while it ran",
            "stop the job, report `released`, acknowledge; what it reports is discarded",
        )
    if report is None and not has_stopped():
        raise Unmet(
            f"it went on with a canceled job for {stage.plan.patience:g} s",
            "stop a job when a control message `cancel` names its token",
        )
    if not await stage.until(lambda: stage.settled(job)):
        raise Unmet(
            "it stops a canceled job, and keeps its message",
            "report `released`, and acknowledge the message",
        )
    if stage.journal.settlements(job.token)[-1].how == "requeue":
        raise Unmet(
            "it gives a canceled job back to the queue",
            "report `released` and acknowledge: else the next worker is given it",
        )
    await remark_unreleased(stage, job, "a running job that is canceled")
    await finish(stage, await stage.hand_out(stage.plan.rehearsal.normal_args()))
    return f"stopped after {(asyncio.get_running_loop().time() - told) * 1000:.0f} ms"


async def cancel_before(stage: Stage) -> str:
    """A job whose cancel comes before it never starts."""
    _check_binding(stage)
    token, seen = stage.scheduler.new_token(), len(stage.journal.entries)
    await stage.scheduler.cancel(token)
    if not await stage.until(lambda: stage.journal.heard_control(seen)):
        raise Unmet(
            "a control message did not reach it",
            f"bind its own queue to the control exchange with routing key {stage.plan.job_type}, "
            "and consume it",
        )
    await asyncio.sleep(GRACE)
    job = await stage.hand_out(stage.plan.rehearsal.normal_args(), token=token)
    await dropped(stage, job, "a job that was canceled before it came")
    return "dropped unrun"


async def tolerance(stage: Stage) -> str:
    """What it does not know in messages is ignored."""
    deaths, connections = len(stage.deaths), stage.journal.connections()
    seen = len(stage.journal.entries)
    await stage.scheduler.tell_workers(b'{"what": "nobody knows"}', "rehearse")
    await stage.scheduler.tell_workers(b"no JSON", "rehearse")
    await stage.scheduler.tell_workers(b'{"tokens": ["of nobody"], "later": 1}', "cancel")
    if await stage.until(lambda: stage.journal.heard_control(seen), GRACE):
        await asyncio.sleep(GRACE)  # a worker that dies of them must not end the job first
    job = await stage.hand_out(
        stage.plan.rehearsal.normal_args(),
        headers={"x-of-somebody": {"nested": [1, "two"]}, "later": True},
    )
    await finish(stage, job)
    if len(stage.deaths) > deaths:
        raise Unmet(stage.deaths[-1].text, "ignore what is not known in a message")
    if stage.journal.connections() > connections:
        raise Unmet(
            "it lost its connection over a message of a kind, or with headers, unknown to it",
            "ignore control messages of other types, and headers and fields that are not known",
        )
    await _check_type_is_read(stage)
    return "ignored"


async def newer_protocol(stage: Stage) -> str:
    """A job of a newer protocol is rejected, not run."""
    args = stage.plan.rehearsal.normal_args()
    job = await stage.hand_out(args, headers={"protocol": 2})
    await stage.until(lambda: stage.settled(job) or stage.final(job))
    advice = "basic.reject with requeue off, if the header `protocol` is greater than 1"
    report = stage.final(job)
    if report is not None:
        raise Unmet(f"it ran a job of protocol 2: {report.kind}", advice)
    if not stage.settled(job):
        raise Unmet(*why_no_report(stage, job))
    how = stage.journal.settlements(job.token)[-1].how
    if how != "reject":
        raise Unmet(f"it settles a job of protocol 2 with {how}", advice)
    return "rejected"


async def _failure(stage: Stage, job: HandedOut, what: str) -> Failed:
    """Return the report of a job that must fail.

    Raises:
        Unmet: it was not reported as failed.
    """
    report = await stage.ended(job)
    settlements = stage.journal.settlements(job.token)
    if any(each.how == "requeue" for each in settlements):
        raise Unmet(
            f"it gives {what} back to the queue, which delivers it again at once",
            "report `failed` with code and message, then acknowledge: the scheduler waits and "
            "counts the attempts",
        )
    if report is None:
        if settlements and settlements[-1].how == "reject":
            raise Unmet(
                f"it rejects {what}: then nobody learns why",
                "report `failed` with code and message, then acknowledge",
            )
        text, advice = why_no_report(stage, job)
        raise Unmet(f"{what}: {text}", advice)
    if report.kind != "failed":
        raise Unmet(
            f"{what} is reported as {report.kind}",
            'report it with type `failed` and a body {"code": …, "message": …}; a rehearsal job '
            "fails if its args have `fail`, or are no object",
        )
    body: Failed = valid(report)
    await acknowledged(stage, job, report)
    return body


async def _check_foreign_cancel(stage: Stage, job: HandedOut) -> None:
    """Return if a running job goes on when another one is canceled.

    Raises:
        Unmet: it is stopped.
    """
    await stage.scheduler.cancel(stage.scheduler.new_token())
    if await stage.until(
        lambda: stage.final(job) or stage.journal.reports_on(job.token, "released"), GRACE
    ):
        raise Unmet(
            "it stops a job when another one is canceled",
            "compare the tokens of a `cancel` with that of the job: most are not its own",
        )


async def _check_type_is_read(stage: Stage) -> None:
    """Return if a running job goes on that a control message of an unknown type names.

    Raises:
        Unmet: it is stopped.
    """
    args = stage.plan.rehearsal.slow_args(NAMED)
    if args is None:
        return
    job = await stage.hand_out(args)
    if not await stage.until(lambda: stage.delivered(job)):
        raise Unmet(*why_no_report(stage, job))
    await stage.until(lambda: stage.journal.reports_on(job.token, "started"), NAMED / 2)
    await stage.scheduler.tell_workers(encode(CancelControl(tokens=[job.token])), "rehearse")

    def has_stopped() -> bool:
        given_up = stage.settled(job) and not stage.journal.reports_on(job.token, "lease")
        return given_up or bool(stage.journal.reports_on(job.token, "released"))

    seconds = NAMED if stage.plan.rehearsal.gives_back_args else OF_ANOTHER_KIND
    await stage.until(lambda: stage.final(job) or has_stopped(), seconds + stage.plan.patience)
    report = stage.final(job)
    if has_stopped() if report is None else report.kind == "failed":
        raise Unmet(
            "it stops a job that a control message of an unknown type names",
            "read the property `type` of a control message: only `cancel` stops jobs",
        )
    await finish(stage, job)


def _check_binding(stage: Stage) -> None:
    if not stage.journal.control_bindings():
        control = stage.plan.names.control
        raise Unmet(
            f"it binds no queue to {control}: no cancel reaches it",
            f"declare an exclusive queue, bind it to {control} with the job type as routing key, "
            "consume it before the queue of the jobs",
        )


CHECKS = (
    Check("failed", "reports a failure with code and message", failed),
    Check("malformed", "fails a job whose args are wrong, and goes on", malformed),
    Check("started", "says that a job has started", started),
    Check("copies", "does not start a job twice whose message comes again", copies),
    Check("cancel_running", "stops a running job that is canceled", cancel_running),
    Check("cancel_before", "never starts a job that was canceled before", cancel_before),
    Check("tolerance", "ignores what it does not know", tolerance),
    Check("newer_protocol", "rejects a job of a newer protocol", newer_protocol),
    Check(
        "stop_in_order", "ends or gives back its jobs at SIGTERM, and exits with 0", stop_in_order
    ),
)
