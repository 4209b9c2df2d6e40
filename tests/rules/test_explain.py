"""An explanation for every state, down to the root cause."""

from __future__ import annotations

import pytest

from broker_queue.job import Condition, State
from broker_queue.protocol.messages import Error, JobStatus
from scheduler.rules.explain import OpenDependency, QueueFacts, Step, explain

ID = "01a20955-d902-7370-996e-6a7540d187fb"
OTHER = "01a20955-d902-7370-996e-6a7540d187fc"


def status(state: State, **known: object) -> JobStatus:
    return JobStatus(id=ID, state=state, queued=0, type="build", **known)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_reason_that_names_the_job(state: State) -> None:
    found = explain([Step(status=status(state))], now=1_000)
    assert found.state is state
    assert found.reasons
    assert ID in found.summary


@pytest.mark.parametrize(
    ("name", "shown"), [("nightly", f"build {ID} (nightly)"), ("build", f"build {ID}")]
)
def test_a_name_that_says_no_more_than_the_type_is_not_repeated(name: str, shown: str) -> None:
    found = explain([Step(status=status(State.FINISHED, name=name))], now=0)
    assert found.summary == f"{shown} finished"


def test_a_waiting_job_names_what_it_waits_for_and_the_root_cause() -> None:
    open_edge = OpenDependency(
        job=OTHER, state=State.QUEUED, condition=Condition.FAILURE, name="fetch data"
    )
    queue = QueueFacts(name="bq.jobs.fetch", consumers=0)
    root = JobStatus(id=OTHER, state=State.QUEUED, queued=0, type="fetch")
    steps = [
        Step(status=status(State.WAITING), open_dependencies=[open_edge], open_count=3),
        Step(status=root, queue=queue),
    ]
    found = explain(steps, now=0)
    texts = [reason.text for reason in found.reasons]
    assert f"waits for job {OTHER} (fetch data) to fail; it is queued" in texts
    assert "and for 2 more" in texts
    assert "no worker consumes queue bq.jobs.fetch" in found.summary
    assert found.reasons[-1].kind == "no_worker"


def test_a_skipped_job_leads_to_the_failure_and_its_error() -> None:
    failed = JobStatus(
        id=OTHER, state=State.FAILED, queued=0, type="fetch", attempt=3, max_attempts=3,
        error=Error(code="timeout", message="too slow"),
    )  # fmt: skip
    found = explain([Step(status=status(State.SKIPPED)), Step(status=failed)], now=0)
    assert "root cause: fetch" in found.summary
    assert "failed after 3 attempts: timeout: too slow" in found.summary


@pytest.mark.parametrize(
    ("queue", "kind"),
    [
        (QueueFacts(name="q", consumers=None), "no_queue"),
        (QueueFacts(name="q", consumers=0), "no_worker"),
        (QueueFacts(name="q", consumers=2, messages=5, is_handed_out=True), "in_queue"),
        (QueueFacts(name="q", consumers=1, ahead_in_line=9), "in_line"),
    ],
)
def test_a_queued_job_says_where_it_stands(queue: QueueFacts, kind: str) -> None:
    found = explain([Step(status=status(State.QUEUED), queue=queue)], now=0)
    assert found.reasons[0].kind == kind


def test_a_job_that_is_in_no_queue_and_unreported_says_what_may_have_become_of_it() -> None:
    queue = QueueFacts(name="q", consumers=1, is_handed_out=True)
    found = explain([Step(status=status(State.QUEUED), queue=queue)], now=0)
    assert "for 1 consumer; queue q is empty, so a worker has it" in found.summary
    assert "parked" not in found.summary
    queue = QueueFacts(name="q", consumers=0, is_handed_out=True, parked=3)
    found = explain([Step(status=status(State.QUEUED), queue=queue)], now=0)
    assert found.reasons[0].kind == "no_worker"
    assert found.summary.endswith("3 messages are parked, perhaps its report among them")


def test_a_job_whose_queue_is_refused_says_why() -> None:
    queue = QueueFacts(name="q", consumers=None, refusal="RESOURCE_LOCKED", is_handed_out=True)
    found = explain([Step(status=status(State.QUEUED), queue=queue)], now=0)
    assert found.reasons[0].kind == "queue_refused"
    assert "the broker refuses its queue q: RESOURCE_LOCKED" in found.summary


def test_a_job_that_is_tried_again_says_why_and_when() -> None:
    known = status(
        State.SCHEDULED, attempt=1, max_attempts=3, error=Error(code="E", message="no route")
    )
    found = explain([Step(status=known, due_at=90_000)], now=0)
    assert "attempt 1 of 3 (E: no route); the next attempt is in 1.5 min" in found.summary


def test_a_running_job_whose_worker_is_silent_says_so_and_that_nobody_else_would_take_it() -> None:
    running = status(State.RUNNING, worker="w9", started=0)
    heard = explain([Step(status=running)], now=1_000)
    assert heard.reasons[0].kind == "running"
    assert "w9 for 1.0 s" in heard.summary
    queue = QueueFacts(name="bq.jobs.build", consumers=1, messages=1)
    silent = explain([Step(status=running, queue=queue, is_worker_silent=True)], now=1_000)
    assert silent.reasons[0].kind == "running"
    assert silent.summary.endswith("that worker has not been heard of lately")
    alone = QueueFacts(name="bq.jobs.build", consumers=0, messages=1)
    found = explain([Step(status=running, queue=alone, is_worker_silent=True)], now=1_000)
    assert found.reasons[0].kind == "no_worker"
    assert "no worker consumes queue bq.jobs.build; start a worker" in found.summary
