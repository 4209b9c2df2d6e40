"""Counting jobs from events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from broker_queue.cli.tally import MAX_RUNNING, Tally
from broker_queue.job import JobId, State
from broker_queue.status import JobEvent, Progress


def event(job: str, state: State, second: int = 0, **fields: Any) -> JobEvent:
    at = datetime.fromtimestamp(second, UTC)
    return JobEvent(job=JobId(job), state=state, at=at, type="t", **fields)


def test_a_job_counts_once_in_its_newest_state() -> None:
    tally = Tally("x")
    for state in (State.WAITING, State.QUEUED, State.RUNNING, State.RUNNING, State.FINISHED):
        tally.add(event("a", state))
    tally.add(event("b", State.WAITING))
    assert +tally.counts["t"] == {State.FINISHED: 1, State.WAITING: 1}
    assert +tally.snapshot().total == {State.FINISHED: 1, State.WAITING: 1}


def test_running_jobs_keep_their_start_and_their_last_progress() -> None:
    tally = Tally("x")
    tally.add(event("a", State.RUNNING, 1, progress=Progress(fraction=0.5, message="half")))
    tally.add(event("a", State.RUNNING, 2))
    (running,) = tally.snapshot().running
    assert (running.since.timestamp(), running.fraction, running.message) == (1, 0.5, "half")
    tally.add(event("a", State.FINISHED, 3))
    assert tally.snapshot().running == ()


def test_only_some_running_jobs_are_shown() -> None:
    tally = Tally("x")
    for number in range(100):
        tally.add(event(str(number), State.RUNNING))
    assert len(tally.snapshot().running) == MAX_RUNNING
