"""Why a job is where it is: a reason for every state, and the way down to the root cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from broker_queue.job import Condition, State
from broker_queue.protocol.messages import Explanation, JobStatus, Reason

WAITS_FOR = {
    Condition.SUCCESS: "to finish",
    Condition.FAILURE: "to fail",
    Condition.ANY: "to end",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """What is known of the queue of a queued or running job."""

    name: str
    consumers: int | None
    """None: the broker has no such queue."""
    refusal: str | None = None
    """Why the broker refuses it."""
    messages: int = 0
    is_handed_out: bool = False
    parked: int = 0
    """Messages that meant nothing: perhaps a report of this job is among them."""
    ahead_in_line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDependency:
    """A dependency that has not ended."""

    job: str
    state: State
    condition: Condition
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One job on the way from the question to the root cause."""

    status: JobStatus
    open_dependencies: Sequence[OpenDependency] = ()
    open_count: int = 0
    due_at: int | None = None
    queue: QueueFacts | None = None
    is_worker_silent: bool = False
    """Whether the worker that runs it has not been heard of lately."""


def explain(steps: Sequence[Step], now: int) -> Explanation:
    """Return the explanation of the first step's job; each further step is why of the one before.

    Args:
        steps: the job, then the dependency that it waits for or was skipped because of, and so on.
        now: milliseconds since the epoch.
    """
    reasons = [
        reason
        for depth, step in enumerate(steps)
        for reason in _reasons(
            step, steps[depth - 1] if depth else None, depth, now, is_last=depth == len(steps) - 1
        )
    ]
    first = steps[0].status
    summary = reasons[0].text
    if len(steps) > 1:
        last = next(reason for reason in reversed(reasons) if reason.depth == len(steps) - 1)
        summary += f"; root cause: {last.text}"
    return Explanation(job=first.id, state=first.state, summary=summary, reasons=reasons)


def _reasons(
    step: Step, dependent: Step | None, depth: int, now: int, *, is_last: bool
) -> list[Reason]:
    status = step.status
    match status.state:
        case State.WAITING:
            return _waiting(step, depth)
        case State.SCHEDULED:
            return [_one(step, depth, "scheduled", _scheduled_text(step, now))]
        case State.QUEUED:
            return [_one(step, depth, *_queued(step))]
        case State.RUNNING:
            return [_one(step, depth, *_running(step, now))]
        case State.FINISHED:
            unwanted = f", but {_name(dependent.status)} wanted it to fail" if dependent else ""
            return [_one(step, depth, "finished", f"{_name(status)} finished{unwanted}")]
        case State.FAILED:
            return [_one(step, depth, "failed", _failed_text(status))]
        case State.CANCELED:
            why = f": {status.error.message}" if status.error else ""
            return [_one(step, depth, "canceled", f"{_name(status)} was canceled{why}")]
        case State.SKIPPED:
            because = f" because of job {status.skipped_because}" if is_last else ""
            return [_one(step, depth, "skipped", f"{_name(status)} was skipped{because}")]
    assert_never(status.state)


def _one(step: Step, depth: int, kind: str, text: str) -> Reason:
    return Reason(kind=kind, text=text, job=step.status.id, state=step.status.state, depth=depth)


def _waiting(step: Step, depth: int) -> list[Reason]:
    listed = list(step.open_dependencies)
    if not listed:
        text = f"{_name(step.status)} waits: its dependencies ended, and it is about to be told"
        return [_one(step, depth, "waiting", text)]
    number = f"{step.open_count} dependencies" if step.open_count != 1 else "1 dependency"
    reasons = [_one(step, depth, "waiting", f"{_name(step.status)} waits for {number}")]
    reasons += [
        Reason(
            kind="dependency",
            text=f"waits for job {_named(item.job, item.name)} {WAITS_FOR[item.condition]}; "
            f"it is {item.state}",
            job=item.job,
            state=item.state,
            depth=depth,
        )
        for item in listed
    ]
    if step.open_count > len(listed):
        more = f"and for {step.open_count - len(listed)} more"
        reasons.append(Reason(kind="dependency", text=more, depth=depth))
    return reasons


def _scheduled_text(step: Step, now: int) -> str:
    status = step.status
    wait = _duration(max(0, (step.due_at or now) - now))
    if status.attempt:
        error = f" ({status.error.code}: {status.error.message})" if status.error else ""
        return (
            f"{_name(status)} failed at attempt {status.attempt} of {status.max_attempts}{error}; "
            f"the next attempt is in {wait}"
        )
    return f"{_name(status)} is delayed; it becomes ready in {wait}"


def _queued(step: Step) -> tuple[str, str]:
    queue, name = step.queue, _name(step.status)
    if queue is None:
        return "queued", f"{name} is ready"
    if queue.refusal is not None:
        return "queue_refused", (
            f"{name} is ready, but the broker refuses its queue {queue.name}: {queue.refusal}; "
            "end the program that declared it, and let workers declare none"
        )
    if queue.consumers is None:
        return "no_queue", f"{name} is ready; its queue {queue.name} is being declared"
    unheard = _unheard(queue) if queue.is_handed_out and not queue.messages else ""
    if queue.consumers == 0:
        return "no_worker", f"{name} is ready, but {_no_worker(step, queue)}{unheard}"
    if unheard:
        return "in_queue", f"{name} was handed out for {_workers(queue)}{unheard}"
    if queue.is_handed_out:
        return "in_queue", (
            f"{name} is in queue {queue.name} with {queue.messages} messages for {_workers(queue)}; "
            "all of them are busy, or it is being handed over"
        )
    return "in_line", (
        f"{name} is in line for queue {queue.name}, whose window is full: "
        f"{queue.ahead_in_line} jobs are ahead of it, {_workers(queue)} work on them"
    )


def _workers(queue: QueueFacts) -> str:
    return f"{queue.consumers} consumer" + ("s" if queue.consumers != 1 else "")


def _unheard(queue: QueueFacts) -> str:
    text = (
        f"; queue {queue.name} is empty, so a worker has it and has not reported yet, or it is being "
        "handed over; if it is lost, it is handed out anew once the scheduler's lost_after is over"
    )
    if queue.parked:
        text += f"; {queue.parked} messages are parked, perhaps its report among them"
    return text


def _running(step: Step, now: int) -> tuple[str, str]:
    text, queue = _running_text(step, now), step.queue
    if step.is_worker_silent:
        text += "; that worker has not been heard of lately"
    if queue is None or queue.consumers:
        return "running", text
    if step.is_worker_silent:
        return "no_worker", f"{text}, and {_no_worker(step, queue)}"
    if queue.messages:  # perhaps its own message, which came back when its worker died
        return "no_worker", f"{text}; {queue.messages} messages wait, and {_no_worker(step, queue)}"
    return "running", text


def _no_worker(step: Step, queue: QueueFacts) -> str:
    channel = f" and channel {step.status.channel!r}" if step.status.channel else ""
    return (
        f"no worker consumes queue {queue.name}; start a worker for type "
        f"{step.status.type!r}{channel}"
    )


def _running_text(step: Step, now: int) -> str:
    status = step.status
    where = f" on worker {status.worker}" if status.worker else ""
    since = f" for {_duration(now - status.started)}" if status.started is not None else ""
    limit = f", at most {_duration(round(status.timeout * 1000))}" if status.timeout else ""
    return f"{_name(status)} runs{where}{since}{limit}"


def _failed_text(status: JobStatus) -> str:
    attempts = f" after {status.attempt} attempts" if status.attempt > 1 else ""
    error = f": {status.error.code}: {status.error.message}" if status.error else ""
    return f"{_name(status)} failed{attempts}{error}"


def _name(status: JobStatus) -> str:
    kind = status.type or "milestone"
    return f"{kind} {_named(status.id, status.name if status.name != kind else None)}"


def _named(job: str, name: str | None) -> str:
    return f"{job} ({name})" if name else job


def _duration(milliseconds: int) -> str:
    seconds = milliseconds / 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
