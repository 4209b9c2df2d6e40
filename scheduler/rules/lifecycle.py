"""The states of a job and what each event does to it.

Everything that changes a job's state goes through `decide`. `TRANSITIONS` is the whole table: a
pair of state and event that is not in it is refused. The diagram in the docs and the tests are made
from the same table.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import msgspec

from broker_queue.job import State, Verdict
from scheduler.rules.backoff import Backoff, delay_before_retry
from scheduler.rules.edges import Weighed

TIMEOUT_GRACE = 5_000
"""Milliseconds: the worker itself is first to stop a job at its time limit, the scheduler second."""


class Dispatch(IntEnum):
    """Where a queued job's message is; of a canceled one, until a worker has dropped it."""

    NONE = 0
    """Not with the broker: in line for its queue's window, or not queued at all."""

    PUBLISHING = 1
    """In the window, not confirmed by the broker. These rows are the outbox."""

    PUBLISHED = 2
    """In the window, confirmed."""


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules need to know of a job. Times are milliseconds since the epoch."""

    key: int
    state: State
    pending: int = 0
    """Dependencies that have not ended."""
    attempt: int = 0
    """Number of the current attempt, from 1; what `max_attempts` bounds."""
    handover: int = 0
    """Number of the current hand-over to the broker; unlike `attempt` it also counts those that
    came back unrun. The token carries it, so only the current holder can report."""
    max_attempts: int = 1
    dispatch: Dispatch = Dispatch.NONE
    queue_key: int | None = None
    """None: a milestone, which needs no worker."""
    available_at: int | None = None
    timeout: int | None = None
    backoff: Backoff | None = None
    due_at: int | None = None
    """When the timer acts: end of a delay (scheduled), of the time limit or the lease (running)."""
    leased_until: int | None = None
    """When its worker counts as lost; None: the broker holds its message and watches the worker."""
    losses: int = 0
    """Workers that fell silent while they held it by lease."""
    ready_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    cause_key: int | None = None
    worker: str | None = None

    @property
    def is_milestone(self) -> bool:
        return self.queue_key is None

    @property
    def time_limit(self) -> int | None:
        """When a running job must have reported."""
        if self.timeout is None or self.started_at is None:
            return None
        return self.started_at + self.timeout + TIMEOUT_GRACE


class Satisfy(msgspec.Struct, frozen=True):
    """Some of its edges are satisfied now (none, if it is new); the last one makes it ready."""

    edges: int = 0


class Block(msgspec.Struct, frozen=True):
    """An edge can no longer be satisfied."""

    cause_key: int


class Hold(msgspec.Struct, frozen=True):
    """It was given a dependency that has not ended."""

    pending: int


class Due(msgspec.Struct, frozen=True):
    """The time it waited for has come."""


class Start(msgspec.Struct, frozen=True):
    """Its worker says that it runs."""

    handover: int
    worker: str | None = None


class Lease(msgspec.Struct, frozen=True):
    """Its worker still runs it and asks to be heard of again only within `duration` (ms)."""

    handover: int
    duration: int
    worker: str | None = None


class Succeed(msgspec.Struct, frozen=True):
    """Its worker reports a result. `started_at` is the worker's word, kept within bounds."""

    handover: int
    started_at: int | None = None


class Fail(msgspec.Struct, frozen=True):
    """Its worker reports that this attempt failed."""

    handover: int
    retry: bool = True
    delay: int | None = None
    started_at: int | None = None


class HandBack(msgspec.Struct, frozen=True):
    """Its worker gives it back unrun; that is no attempt."""

    handover: int


class TimeOut(msgspec.Struct, frozen=True):
    """Its time limit has passed and its worker did not report."""


class Lapse(msgspec.Struct, frozen=True):
    """Nobody is heard of it: its worker or its message is lost; after `max_losses` times it fails."""

    handover: int
    max_losses: int


class Die(msgspec.Struct, frozen=True):
    """The broker gave up on its message: delivered too often, rejected, or thrown away."""

    handover: int


class Cancel(msgspec.Struct, frozen=True):
    """Somebody wants it no more."""


Event: TypeAlias = (
    Satisfy
    | Block
    | Hold
    | Due
    | Start
    | Lease
    | Succeed
    | Fail
    | HandBack
    | TimeOut
    | Lapse
    | Die
    | Cancel
)
Report: TypeAlias = Start | Lease | Succeed | Fail | HandBack | Lapse | Die
"""What concerns one hand-over, and nothing else than the current one."""


_W, _S, _Q, _R = State.WAITING, State.SCHEDULED, State.QUEUED, State.RUNNING
_RETRY = (State.SCHEDULED, State.QUEUED, State.FAILED)

TRANSITIONS: dict[tuple[State, type[Event]], tuple[State, ...]] = {
    (_W, Satisfy): (State.WAITING, State.QUEUED, State.SCHEDULED, State.FINISHED),
    (_W, Block): (State.SKIPPED,),
    (_W, Hold): (State.WAITING,),
    (_W, Cancel): (State.CANCELED,),
    (_S, Due): (State.QUEUED, State.FINISHED),
    (_S, Hold): (State.WAITING,),
    (_S, Block): (State.SKIPPED,),
    (_S, Cancel): (State.CANCELED,),
    (_Q, Start): (State.RUNNING,),
    (_Q, Lease): (State.RUNNING,),
    (_Q, Succeed): (State.FINISHED,),
    (_Q, Fail): _RETRY,
    (_Q, HandBack): (State.QUEUED,),
    (_Q, Lapse): (State.QUEUED, State.FAILED),
    (_Q, Hold): (State.WAITING,),
    (_Q, Block): (State.SKIPPED,),
    (_Q, Die): (State.FAILED,),
    (_Q, Cancel): (State.CANCELED,),
    (_R, Start): (State.RUNNING,),
    (_R, Lease): (State.RUNNING,),
    (_R, Succeed): (State.FINISHED,),
    (_R, Fail): _RETRY,
    (_R, HandBack): (State.QUEUED,),
    (_R, TimeOut): _RETRY,
    (_R, Lapse): (State.QUEUED, State.FAILED),
    (_R, Die): (State.FAILED,),
    (_R, Cancel): (State.CANCELED,),
}
"""State and event → the states it may lead to."""


def decide(  # noqa: C901  # one branch for each event
    job: JobFacts, event: Event, now: int, chance: float = 0.0
) -> JobFacts | Verdict:
    """Return the job as it is after `event`, or the verdict with which the event is refused.

    Args:
        job: as it is.
        event: what happened.
        now: milliseconds since the epoch, by the scheduler's clock.
        chance: 0 to 1, the jitter of a back-off.
    """
    if isinstance(event, Report):
        verdict = _fence(job, event.handover)
        if verdict is not None:
            return verdict
    if (job.state, type(event)) not in TRANSITIONS:
        return Verdict.CANCELED if job.state is State.CANCELED else Verdict.STALE
    match event:
        case Satisfy(edges):
            return _satisfy(job, edges, now)
        case Due():
            return _make_ready(job, now)
        case Block(cause_key):
            unrun = msgspec.structs.replace(job, attempt=0, handover=0)  # it may have stood in line
            return _end(unrun, State.SKIPPED, now, cause_key=cause_key)
        case Hold(pending):
            return _hold(job, pending)
        case Start(_, worker):
            return _start(job, worker, now)
        case Lease(_, duration, worker):
            return _lease(job, duration, worker, now)
        case Succeed(_, started_at):
            return _end(job, State.FINISHED, now, started_at=_within(started_at, job, now))
        case Fail(_, retry, delay, started_at):
            if not retry or job.attempt >= job.max_attempts:
                return _end(job, State.FAILED, now, started_at=_within(started_at, job, now))
            return _try_again(job, delay, now, chance)
        case TimeOut():
            if job.attempt >= job.max_attempts:
                return _end(job, State.FAILED, now)
            return _try_again(job, None, now, chance)
        case HandBack():
            return _queue(job, now, counts=False)
        case Lapse(_, max_losses):
            return _lapse(job, max_losses, now)
        case Die():
            return _end(job, State.FAILED, now)
        case Cancel():
            return _cancel(job, now)


def begin(job: JobFacts, weighed: Weighed, now: int) -> JobFacts:
    """Return a new job as its edges let it begin: waiting, ready, or skipped at once."""
    waiting = msgspec.structs.replace(job, pending=weighed.open)
    if weighed.broken is not None:
        return _end(waiting, State.SKIPPED, now, cause_key=weighed.broken)
    return _satisfy(waiting, 0, now)


def note_published(job: JobFacts, handover: int) -> JobFacts:
    """Return the job once the broker has confirmed the message of one hand-over."""
    if job.dispatch is not Dispatch.PUBLISHING or job.handover != handover:
        return job  # it was handed out anew since, or its end was heard of before
    return msgspec.structs.replace(job, dispatch=Dispatch.PUBLISHED)


def was_handed_out(job: JobFacts) -> bool:
    """Whether some worker may have seen it: then its dependencies can no longer change."""
    if job.state in (State.WAITING, State.QUEUED):
        return job.handover > 1 or job.dispatch is not Dispatch.NONE
    return job.handover > 0


def _fence(job: JobFacts, handover: int) -> Verdict | None:
    if job.state is State.CANCELED:
        return Verdict.CANCELED
    if handover != job.handover or job.state.is_final:
        return Verdict.STALE
    return None


def _satisfy(job: JobFacts, edges: int, now: int) -> JobFacts:
    pending = job.pending - edges
    job = msgspec.structs.replace(job, pending=pending)
    return job if pending else _make_ready(job, now)


def _make_ready(job: JobFacts, now: int) -> JobFacts:
    ready_at = now if job.ready_at is None else job.ready_at
    if job.available_at is not None and job.available_at > now:
        return msgspec.structs.replace(
            job, state=State.SCHEDULED, due_at=job.available_at, ready_at=ready_at
        )
    if job.is_milestone:
        return _end(msgspec.structs.replace(job, ready_at=ready_at), State.FINISHED, now)
    return _queue(job, now, counts=True)


def _queue(job: JobFacts, now: int, *, counts: bool) -> JobFacts:
    return msgspec.structs.replace(
        job,
        state=State.QUEUED,
        dispatch=Dispatch.NONE,
        attempt=job.attempt + counts,
        handover=job.handover + 1,
        due_at=None,
        leased_until=None,
        ready_at=now if job.ready_at is None else job.ready_at,
        started_at=None,
        worker=None,
    )


def _hold(job: JobFacts, pending: int) -> JobFacts | Verdict:
    if was_handed_out(job):
        return Verdict.STALE
    return msgspec.structs.replace(
        job,
        state=State.WAITING,
        pending=job.pending + pending,
        attempt=0,
        handover=0,
        due_at=None,
        ready_at=None,
    )


def _start(job: JobFacts, worker: str | None, now: int) -> JobFacts:
    if job.state is State.RUNNING and job.worker == worker:
        return job  # said twice: its time limit goes on
    started = msgspec.structs.replace(
        job,
        state=State.RUNNING,
        dispatch=Dispatch.NONE,
        started_at=now,
        worker=worker,
        leased_until=None,  # another worker was handed its message, and the broker watches that one
    )
    return msgspec.structs.replace(started, due_at=started.time_limit)


def _lease(job: JobFacts, duration: int, worker: str | None, now: int) -> JobFacts:
    running = job if job.state is State.RUNNING else _start(job, worker, now)
    until = now + duration
    limit = running.time_limit
    return msgspec.structs.replace(
        running,
        worker=worker or running.worker,
        leased_until=until,
        due_at=until if limit is None else min(until, limit),
    )


def _lapse(job: JobFacts, max_losses: int, now: int) -> JobFacts | Verdict:
    in_line = job.state is State.QUEUED and job.dispatch is Dispatch.NONE
    if in_line or (job.leased_until is not None and job.leased_until > now):
        return Verdict.STALE
    lost = msgspec.structs.replace(job, losses=job.losses + 1)
    if lost.losses >= max_losses:
        return _end(lost, State.FAILED, now)
    return _queue(lost, now, counts=False)


def _try_again(job: JobFacts, delay: int | None, now: int, chance: float) -> JobFacts:
    wait = delay_before_retry(job.backoff, job.attempt, chance) if delay is None else delay
    if wait <= 0:
        return _queue(job, now, counts=True)
    return msgspec.structs.replace(
        job,
        state=State.SCHEDULED,
        dispatch=Dispatch.NONE,
        due_at=now + wait,
        available_at=now + wait,
        leased_until=None,
        started_at=None,
        worker=None,
    )


def _cancel(job: JobFacts, now: int) -> JobFacts:
    """Keep in mind the message that a worker may still receive, from one that dies with it too."""
    with_a_worker = job.state is State.RUNNING and job.leased_until is None
    return msgspec.structs.replace(
        _end(job, State.CANCELED, now, started_at=job.started_at),
        dispatch=Dispatch.PUBLISHED if with_a_worker else job.dispatch,
    )


def _end(
    job: JobFacts,
    state: State,
    now: int,
    *,
    started_at: int | None = None,
    cause_key: int | None = None,
) -> JobFacts:
    return msgspec.structs.replace(
        job,
        state=state,
        dispatch=Dispatch.NONE,
        due_at=None,
        leased_until=None,
        started_at=job.started_at if job.started_at is not None else started_at,
        finished_at=now,
        cause_key=cause_key,
    )


def _within(started_at: int | None, job: JobFacts, now: int) -> int:
    """Bound a worker's clock by ours: not before the job was ready, not after now."""
    if started_at is None:
        return now
    return min(max(started_at, job.ready_at or 0), now)
