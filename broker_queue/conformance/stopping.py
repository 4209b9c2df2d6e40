"""What a worker does when SIGTERM tells it to stop: each level has its own demands on that."""

from __future__ import annotations

import asyncio
import time

from broker_queue.conformance.check import Unchecked, Unmet
from broker_queue.conformance.looking import args_or_unchecked, why_no_report
from broker_queue.conformance.played import HandedOut
from broker_queue.conformance.process import WorkerProcess
from broker_queue.conformance.stage import GRACE, Stage, Stopped
from broker_queue.errors import RequestError
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import Hello

KILLED = 128 + 15
"""Exit code of what SIGTERM kills."""

AT_STOP = 12
"""Jobs in the queue when the worker is told to stop."""

TAKES = 1.0
"""Seconds that each of them takes."""

HANDLE_ADVICE = "handle SIGTERM: take no more jobs, end or give back what runs, then exit with 0"


async def stop(stage: Stage) -> str:
    """Level 1: told to stop, it ends, and what it leaves goes to another worker."""
    stopped = await _first_stop(stage)
    _check_nothing_lost(stopped)
    if stopped.exit_code is None:
        stage.remark(*_does_not_end(stage))
    return stopped.text


async def stop_in_order(stage: Stage) -> str:
    """Level 2: told to stop, it ends what runs, gives back the rest, and exits with 0."""
    stopped = await _first_stop(stage)
    if stopped.exit_code is None:
        stage.remark(*_does_not_end(stage))
    elif stopped.exit_code == KILLED and stopped.abandoned:
        stage.remark(*_killed(stopped))
    else:
        if stopped.exit_code:
            stage.remark(*_exit_code(stopped))
        _remark_abandoned(stage, stopped)
    _remark_taken(stage, stopped)
    if stopped.unbegun:
        stage.remark(
            f"told to stop, it leaves {stopped.unbegun} jobs that it has not begun to the broker",
            "report `released` of them, and acknowledge: what goes back when a channel is closed "
            "counts towards the delivery limit",
        )
    return stopped.text


async def shutdown(stage: Stage) -> str:
    """Level 3: told to stop, it also says that it does."""
    process = _process(stage)
    args_or_unchecked(stage.plan.rehearsal.slow_args(TAKES), "--slow-args")
    stopped = await _told_to_stop(stage, process)
    if stopped.exit_code is None:
        raise Unmet(*_does_not_end(stage))
    if stopped.exit_code not in (0, KILLED):
        text, advice = _exit_code(stopped)
        said = "".join(f"\n{line}" for line in process.last_lines())
        raise Unmet(f"{text}{said}", advice)
    _check_nothing_lost(stopped)
    if stopped.exit_code == KILLED:
        if stopped.abandoned:
            raise Unmet(*_killed(stopped))
        stage.remark(
            f"told to stop, it ends with exit code {KILLED}, as one that SIGTERM kills",
            "exit with 0, so that what starts it knows that all is well",
        )
    _remark_abandoned(stage, stopped)
    if not any(_is_stopping(each.body) for each in stage.journal.hellos):
        stage.remark(
            "it does not say that it stops",
            "send a last hello with `stopping` true: it is listed no more, at once",
        )
    return stopped.text


async def _first_stop(stage: Stage) -> Stopped:
    """Return how the worker ended when it was first told to stop; then it runs again."""
    if stage.first_stop is None:
        process = _process(stage)
        stage.first_stop = stopped = await _told_to_stop(stage, process)
        if stopped.exit_code is None:
            process.kill()
            await stage.until(lambda: process.exit_code is not None)
        await _take_back(stage, stopped)
        await process.start_again()
    return stage.first_stop


async def _told_to_stop(stage: Stage, process: WorkerProcess) -> Stopped:
    """Return what becomes of the worker, and of jobs of which it has begun some."""
    journal, rehearsal = stage.journal, stage.plan.rehearsal
    args = rehearsal.slow_args(TAKES) or rehearsal.normal_args()
    jobs = await asyncio.gather(*(stage.hand_out(args) for _ in range(AT_STOP)))
    if not await stage.until(lambda: any(stage.delivered(job) for job in jobs)):
        raise Unmet(*why_no_report(stage, jobs[0]))
    await asyncio.sleep(GRACE)
    held = {job.token for job in jobs if journal.is_held(job.token)}
    told = time.monotonic()
    process.ask_to_stop()
    limit = GRACE if process.ignores_stop else stage.plan.stop_timeout
    if not await stage.until(lambda: process.exit_code is not None, limit):
        process.ignores_stop = True
    seconds = time.monotonic() - told
    done = {job.token for job in jobs if stage.final(job)}
    released = {job.token for job in jobs if journal.reports_on(job.token, "released")} - done
    lost = {job.token for job in jobs if _is_dropped(stage, job)} - done - released
    begun = {job.token for job in jobs if journal.reports_on(job.token, "started", "lease")}
    for job in jobs:
        stage.forget(job)
    return Stopped(
        exit_code=process.exit_code,
        seconds=seconds,
        jobs=len(jobs),
        done=len(done),
        released=len(released),
        lost=len(lost),
        abandoned=len(begun - done - released - lost),
        unbegun=len(held - begun - done - released - lost),
        held=len(held),
        taken=len((begun | done) - held),
    )


def _is_dropped(stage: Stage, job: HandedOut) -> bool:
    """Whether the message of a job is acknowledged, and not because it is held by lease."""
    settlements = stage.journal.settlements(job.token)
    is_leased = bool(stage.journal.reports_on(job.token, "lease"))
    return any(each.how == "ack" for each in settlements) and not is_leased


async def _take_back(stage: Stage, stopped: Stopped) -> None:
    """Drop what the broker gets back, so that the next worker is not given it."""
    deadline = time.monotonic() + stage.plan.patience
    while True:
        is_back = (await stage.place.depth()).messages >= stopped.back
        if is_back or time.monotonic() > deadline:
            await stage.place.empty()
            return
        await asyncio.sleep(GRACE)


def _process(stage: Stage) -> WorkerProcess:
    if stage.process is None:
        raise Unchecked("the kit starts no worker: give its command after --")
    return stage.process


def _check_nothing_lost(stopped: Stopped) -> None:
    if stopped.lost:
        raise Unmet(
            f"told to stop, it lost {stopped.lost} of {stopped.jobs} jobs: acknowledged without a "
            "report",
            "acknowledge only what was reported on",
        )


def _does_not_end(stage: Stage) -> tuple[str, str]:
    return f"it does not end within {stage.plan.stop_timeout:g} s of SIGTERM", HANDLE_ADVICE


def _killed(stopped: Stopped) -> tuple[str, str]:
    return f"SIGTERM kills it, with {stopped.abandoned} running jobs", HANDLE_ADVICE


def _exit_code(stopped: Stopped) -> tuple[str, str]:
    return (
        f"told to stop, it ends with exit code {stopped.exit_code}",
        "exit with 0 when told to stop by SIGTERM",
    )


def _remark_abandoned(stage: Stage, stopped: Stopped) -> None:
    if stopped.abandoned:
        stage.remark(
            f"told to stop, it abandons {stopped.abandoned} running jobs",
            "let running jobs end, for half a minute say, or report `released` of them",
        )


def _remark_taken(stage: Stage, stopped: Stopped) -> None:
    # One job for each that ends may be on its way before the consumer is canceled.
    if stopped.taken > stopped.held:
        stage.remark(
            f"told to stop, it goes on taking jobs: {stopped.taken} that it did not hold before",
            "cancel your consumers (`basic.cancel`) first, then wait for what runs",
        )


def _is_stopping(hello: bytes) -> bool:
    try:
        return decode(hello, Hello).stopping
    except RequestError:
        return False
