"""The table of transitions: complete, kept, and nothing else happens."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import msgspec
import pytest

from broker_queue.job import FINAL_STATES, State, Verdict
from scheduler.rules import lifecycle
from scheduler.rules.backoff import Backoff, delay_before_retry
from scheduler.rules.edges import Weighed
from scheduler.rules.lifecycle import TRANSITIONS, Dispatch, Event, JobFacts, decide

NOW = 1_000_000

EVENTS: dict[type, Any] = {
    lifecycle.Satisfy: lifecycle.Satisfy(1),
    lifecycle.Block: lifecycle.Block(7),
    lifecycle.Hold: lifecycle.Hold(1),
    lifecycle.Due: lifecycle.Due(),
    lifecycle.Start: lifecycle.Start(1, "w"),
    lifecycle.Lease: lifecycle.Lease(1, 5_000, "w"),
    lifecycle.Succeed: lifecycle.Succeed(1),
    lifecycle.Fail: lifecycle.Fail(1),
    lifecycle.HandBack: lifecycle.HandBack(1),
    lifecycle.TimeOut: lifecycle.TimeOut(),
    lifecycle.Lapse: lifecycle.Lapse(1, 2),
    lifecycle.Die: lifecycle.Die(1),
    lifecycle.Cancel: lifecycle.Cancel(),
}


def job(state: State, **facts: Any) -> JobFacts:
    """A job in a state, with what that state needs."""
    known: dict[str, Any] = {"queue_key": 1, "max_attempts": 2}
    if state is State.WAITING:
        known["pending"] = 1
    elif state is State.SCHEDULED:
        known["due_at"] = NOW
    elif state in (State.QUEUED, State.RUNNING):
        known |= {"attempt": 1, "handover": 1}
    return JobFacts(key=1, state=state, **known | facts)


def test_every_event_has_an_example() -> None:
    assert set(EVENTS) == set(get_args(Event))


@pytest.mark.parametrize(
    ("state", "kind"),
    list(itertools.product(State, EVENTS)),
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_pair_in_the_table_leads_where_it_says_and_any_other_is_refused(
    state: State, kind: type[Event]
) -> None:
    is_out = state is State.QUEUED and kind is lifecycle.Lapse  # what is in line cannot be lost
    facts = {"dispatch": Dispatch.PUBLISHED} if is_out else {}
    after = decide(job(state, **facts), EVENTS[kind], NOW)
    if (state, kind) in TRANSITIONS:
        assert isinstance(after, JobFacts)
        assert after.state in TRANSITIONS[state, kind]
    else:
        expected = Verdict.CANCELED if state is State.CANCELED else Verdict.STALE
        assert after is expected


def test_no_transition_leaves_a_final_state() -> None:
    assert not [state for state, _ in TRANSITIONS if state in FINAL_STATES]


def test_every_open_state_can_be_canceled_and_left() -> None:
    for state in set(State) - FINAL_STATES:
        assert (state, lifecycle.Cancel) in TRANSITIONS
        assert any(
            after is not state
            for (before, _), targets in TRANSITIONS.items()
            if before is state
            for after in targets
        )


@pytest.mark.parametrize(
    "kind", [lifecycle.Start, lifecycle.Succeed, lifecycle.Fail, lifecycle.HandBack, lifecycle.Die]
)
@pytest.mark.parametrize("handover", [0, 2, -1])
def test_a_report_about_another_hand_over_is_stale(kind: Any, handover: int) -> None:
    assert decide(job(State.RUNNING), kind(handover), NOW) is Verdict.STALE


def test_a_hand_back_costs_no_attempt_but_makes_the_old_token_useless() -> None:
    after = decide(job(State.RUNNING), lifecycle.HandBack(1), NOW)
    assert isinstance(after, JobFacts)
    assert (after.state, after.attempt, after.handover) == (State.QUEUED, 1, 2)
    assert decide(after, lifecycle.Succeed(1), NOW) is Verdict.STALE


def test_the_last_attempt_ends_the_job_and_an_earlier_one_waits() -> None:
    first = decide(job(State.RUNNING), lifecycle.Fail(1), NOW)
    last = decide(job(State.RUNNING, attempt=2), lifecycle.Fail(1), NOW)
    final = decide(job(State.RUNNING), lifecycle.Fail(1, retry=False), NOW)
    assert isinstance(first, JobFacts)
    assert isinstance(last, JobFacts)
    assert isinstance(final, JobFacts)
    assert (first.state, first.due_at) == (State.SCHEDULED, NOW + 1_000)
    assert (last.state, final.state) == (State.FAILED, State.FAILED)


def test_a_failure_without_delay_is_ready_at_once() -> None:
    after = decide(job(State.RUNNING), lifecycle.Fail(1, delay=0), NOW)
    assert isinstance(after, JobFacts)
    assert (after.state, after.attempt, after.handover) == (State.QUEUED, 2, 2)


def test_a_started_job_has_a_deadline_if_it_has_a_timeout() -> None:
    limited = decide(job(State.QUEUED, timeout=3_000), lifecycle.Start(1), NOW)
    free = decide(job(State.QUEUED), lifecycle.Start(1), NOW)
    assert isinstance(limited, JobFacts)
    assert isinstance(free, JobFacts)
    assert limited.due_at == NOW + 3_000 + lifecycle.TIMEOUT_GRACE
    assert free.due_at is None


def test_a_worker_that_says_started_twice_gets_no_more_time_but_another_one_does() -> None:
    running = decide(job(State.QUEUED, timeout=3_000), lifecycle.Start(1, "w"), NOW)
    assert isinstance(running, JobFacts)
    assert decide(running, lifecycle.Start(1, "w"), NOW + 2_000) == running
    other = decide(running, lifecycle.Start(1, "other"), NOW + 2_000)
    assert isinstance(other, JobFacts)
    assert other.due_at == NOW + 5_000 + lifecycle.TIMEOUT_GRACE


def test_a_milestone_finishes_when_its_dependencies_do() -> None:
    after = decide(job(State.WAITING, queue_key=None), lifecycle.Satisfy(1), NOW)
    assert isinstance(after, JobFacts)
    assert (after.state, after.finished_at) == (State.FINISHED, NOW)


def test_a_delayed_job_is_scheduled_when_its_dependencies_end_too_early() -> None:
    after = decide(job(State.WAITING, available_at=NOW + 5), lifecycle.Satisfy(1), NOW)
    assert isinstance(after, JobFacts)
    assert (after.state, after.due_at, after.ready_at) == (State.SCHEDULED, NOW + 5, NOW)


def test_a_worker_s_clock_counts_only_within_ours() -> None:
    ready = job(State.QUEUED, ready_at=NOW - 100)
    for told, kept in ((NOW - 50, NOW - 50), (0, NOW - 100), (NOW + 999, NOW), (None, NOW)):
        after = decide(ready, lifecycle.Succeed(1, told), NOW)
        assert isinstance(after, JobFacts)
        assert after.started_at == kept


@pytest.mark.parametrize(
    ("facts", "kept"),
    [
        (job(State.QUEUED), Dispatch.NONE),
        (job(State.QUEUED, dispatch=Dispatch.PUBLISHING), Dispatch.PUBLISHING),
        (job(State.QUEUED, dispatch=Dispatch.PUBLISHED), Dispatch.PUBLISHED),
        (job(State.RUNNING), Dispatch.PUBLISHED),  # unacknowledged, it may come back
        (job(State.RUNNING, leased_until=NOW + 1), Dispatch.NONE),
    ],
)
def test_a_canceled_job_keeps_its_place_in_the_queue_until_it_is_dropped(
    facts: JobFacts, kept: Dispatch
) -> None:
    after = decide(facts, lifecycle.Cancel(), NOW)
    assert isinstance(after, JobFacts)
    assert (after.state, after.dispatch) == (State.CANCELED, kept)


@pytest.mark.parametrize(
    ("facts", "handed_out"),
    [
        (job(State.WAITING), False),
        (job(State.SCHEDULED), False),
        (job(State.QUEUED), False),
        (job(State.QUEUED, dispatch=Dispatch.PUBLISHING), True),
        (job(State.QUEUED, handover=2), True),
        (job(State.SCHEDULED, handover=1), True),
        (job(State.RUNNING), True),
    ],
)
def test_dependencies_can_be_added_until_a_worker_may_have_seen_the_job(
    facts: JobFacts, handed_out: bool
) -> None:
    assert lifecycle.was_handed_out(facts) is handed_out


def test_a_new_job_begins_as_its_edges_let_it() -> None:
    new = msgspec.structs.replace(job(State.WAITING), pending=0)
    assert lifecycle.begin(new, Weighed(0, None), NOW).state is State.QUEUED
    assert lifecycle.begin(new, Weighed(2, None), NOW).state is State.WAITING
    skipped = lifecycle.begin(new, Weighed(2, 9), NOW)
    assert (skipped.state, skipped.cause_key) == (State.SKIPPED, 9)


def test_back_off_grows_to_its_maximum_and_jitter_only_shortens_it() -> None:
    rule = Backoff(initial=100, factor=2.0, maximum=1_000, jitter=0.5)
    assert [delay_before_retry(rule, n, 0.0) for n in (1, 2, 3, 4, 5)] == [
        100,
        200,
        400,
        800,
        1_000,
    ]
    assert delay_before_retry(rule, 3, 1.0) == 200
    assert delay_before_retry(Backoff(factor=100.0), 10_000, 0.0) == 3_600_000
    assert delay_before_retry(Backoff(initial=0, factor=100.0), 10_000, 0.0) == 0
    assert delay_before_retry(None, 1, 0.0) == 1_000


def test_what_is_in_line_or_held_by_a_lease_that_runs_is_not_lost() -> None:
    lapse = lifecycle.Lapse(1, 2)
    assert decide(job(State.QUEUED), lapse, NOW) is Verdict.STALE
    assert decide(job(State.RUNNING, leased_until=NOW + 1), lapse, NOW) is Verdict.STALE
    lost = decide(job(State.RUNNING, leased_until=NOW, worker="w"), lapse, NOW)
    assert isinstance(lost, JobFacts)
    assert (lost.state, lost.attempt, lost.handover, lost.losses) == (State.QUEUED, 1, 2, 1)
    assert (lost.leased_until, lost.due_at, lost.worker) == (None, None, None)


def test_a_lease_ends_with_the_time_limit_at_the_latest() -> None:
    started = decide(job(State.QUEUED, timeout=1_000), lifecycle.Start(1, "w"), NOW)
    assert isinstance(started, JobFacts)
    for duration, due in ((60_000, NOW + 1_000 + lifecycle.TIMEOUT_GRACE), (100, NOW + 100)):
        leased = decide(started, lifecycle.Lease(1, duration), NOW)
        assert isinstance(leased, JobFacts)
        assert (leased.leased_until, leased.due_at) == (NOW + duration, due)
        assert leased.worker == "w"
