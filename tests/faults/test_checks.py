"""The checks of the crash tests find what they are there to find; no broker, no processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec
import pytest

from broker_queue.graph import Graph, new_job_id
from broker_queue.job import Condition, JobId, State
from tests.faults import plan
from tests.faults.cancels import late_starts
from tests.faults.checks import options_of, violations
from tests.faults.database import Options, StoredJob
from tests.faults.evidence import Evidence
from tests.faults.journal import Line
from tests.faults.plan import Victim
from tests.faults.record import (
    Canceled,
    CancelSent,
    Entry,
    Record,
    Retried,
    RetrySent,
    SubmitSent,
    Submitted,
    Told,
)
from tests.faults.works import works

GRAPH = Graph()
FIRST = GRAPH.add("step", {"work": 0, "succeed_at": 2}, max_attempts=2).id
SECOND = GRAPH.add("step", {"work": 0, "succeed_at": 1}, [FIRST]).id
THIRD = GRAPH.add("claimed", {"work": 0, "succeed_at": 1}, [SECOND]).id
LIMITED = GRAPH.add(
    "step",
    {"work": 0, "succeed_at": 2, "overrun": True},
    max_attempts=2,
    timeout=0.001,
    channel="red",
).id
FOURTH = GRAPH.add("step", {"work": 0, "succeed_at": 1}, [THIRD]).id
THIRD_COPY, FOURTH_COPY = new_job_id(), new_job_id()

UNCONFIRMED = Graph()
ONE, OTHER = (UNCONFIRMED.add("step", {"work": 0, "succeed_at": 1}).id for _ in range(2))


def stored(job: JobId, **changes: Any) -> StoredJob:
    graph, spec = next(
        (graph, spec) for graph in (GRAPH, UNCONFIRMED) for spec in graph.jobs if spec.id == job
    )
    given: dict[str, Any] = {
        "id": job, "graph": graph.id, "state": State.FINISHED, "attempt": 1, "queued_at": 0,
        "cause": None, "retry_of": None, "retried_as": None,
        "options": options_of(spec),
        "handover": 1, "dispatch": 0, "worker": None, "finished_at": 0,
        "args": msgspec.json.decode(spec.args), "result": None, "raw_result": None, "error": None,
        "edges": {JobId(str(target)): Condition.SUCCESS for target in spec.dependencies},
    }  # fmt: skip
    return StoredJob(**(given | changes))


def line(at: int, event: str, job: JobId, attempt: int = 1, **more: Any) -> Line:
    run = more.pop("run", f"run {attempt} of {job}")
    return Line(
        at=at, wall=at, event=event, job=job, attempt=attempt, handover=attempt, run=run,
        **({"token": "", "worker": "worker 1 abc", "channel": ""} | more),
    )  # fmt: skip


def result(job: JobId, attempt: int = 1) -> dict[str, Any]:
    return {"run": f"run {attempt} of {job}", "attempt": attempt}


def history() -> Evidence:
    """The first job fails and succeeds, the second takes its result, the third is canceled.

    The fourth is skipped because of that, and both are retried. Another is stopped by its time
    limit, and succeeds then. Of another graph nothing was confirmed; it is canceled.
    """
    canceled: dict[str, Any] = {"state": State.CANCELED, "attempt": 0, "handover": 0}
    jobs = [
        stored(FIRST, attempt=2, handover=2, finished_at=5, result=result(FIRST, 2)),
        stored(SECOND, finished_at=9, result=result(SECOND)),
        stored(THIRD, **canceled, finished_at=8, retried_as=THIRD_COPY),
        replace(
            stored(THIRD, result=result(THIRD_COPY), queued_at=10, finished_at=14, retry_of=THIRD),
            id=THIRD_COPY,
        ),
        stored(
            FOURTH,
            state=State.SKIPPED,
            attempt=0,
            handover=0,
            finished_at=8,
            cause=THIRD,
            retried_as=FOURTH_COPY,
        ),
        replace(
            stored(
                FOURTH, result=result(FOURTH_COPY), queued_at=10, finished_at=18, retry_of=FOURTH
            ),
            id=FOURTH_COPY,
            edges={THIRD_COPY: Condition.SUCCESS},
        ),
        stored(ONE, **canceled, finished_at=8),
        stored(OTHER, **canceled, finished_at=8),
        stored(LIMITED, attempt=2, handover=2, finished_at=9, result=result(LIMITED, 2)),
    ]
    lines = [
        line(1, "start", FIRST),
        line(2, "failed", FIRST),
        line(3, "start", FIRST, 2),
        line(4, "finished", FIRST, 2, result=result(FIRST, 2)),
        line(6, "start", SECOND, inputs={FIRST: result(FIRST, 2)["run"]}),
        line(7, "finished", SECOND, result=result(SECOND)),
        line(12, "start", THIRD_COPY),
        line(13, "finished", THIRD_COPY, result=result(THIRD_COPY)),
        line(15, "start", FOURTH_COPY),
        line(16, "finished", FOURTH_COPY, result=result(FOURTH_COPY)),
        line(4, "start", LIMITED, channel="red"),
        line(6, "stopped", LIMITED, channel="red"),
        line(7, "start", LIMITED, 2, channel="red"),
        line(8, "finished", LIMITED, 2, channel="red", result=result(LIMITED, 2)),
    ]
    return Evidence({job.id: job for job in jobs}, lines, Record(ENTRIES), epochs=[1, 1, 2])


ENTRIES: list[Entry] = [
    SubmitSent(at=0, wall=0, graph=GRAPH.id, jobs=GRAPH.jobs),
    Submitted(at=0, wall=0, graph=GRAPH.id),
    CancelSent(at=8, wall=8, graph=GRAPH.id, job=THIRD),
    Canceled(at=8, wall=8, graph=GRAPH.id),
    RetrySent(at=10, wall=10, graph=GRAPH.id, job=THIRD),
    Retried(at=11, wall=11, graph=GRAPH.id, copies={THIRD: THIRD_COPY, FOURTH: FOURTH_COPY}),
    Told(job=SECOND, state=State.FINISHED),
    SubmitSent(at=0, wall=0, graph=UNCONFIRMED.id, jobs=UNCONFIRMED.jobs),
    CancelSent(at=8, wall=8, graph=UNCONFIRMED.id),
]


def change(job: JobId, **changes: Any) -> Callable[[Evidence], Evidence]:
    def changed(before: Evidence) -> Evidence:
        jobs = before.jobs | {job: replace(before.jobs[job], **changes)}
        return replace(before, jobs=jobs)

    return changed


def add(*lines: Line) -> Callable[[Evidence], Evidence]:
    def added(before: Evidence) -> Evidence:
        ordered = sorted([*before.lines, *lines], key=lambda line: line.at)
        return replace(before, lines=ordered)

    return added


def forget(job: JobId) -> Callable[[Evidence], Evidence]:
    def forgotten(before: Evidence) -> Evidence:
        jobs = {key: value for key, value in before.jobs.items() if key != job}
        return replace(before, jobs=jobs)

    return forgotten


def transact(*epochs: int) -> Callable[[Evidence], Evidence]:
    return lambda before: replace(before, epochs=[*before.epochs, *epochs])


def note(*entries: Entry, without: type[Entry] | None = None) -> Callable[[Evidence], Evidence]:
    kept = [entry for entry in ENTRIES if without is None or not isinstance(entry, without)]
    return lambda before: replace(before, record=Record([*kept, *entries]))


def found(evidence: Evidence) -> set[str]:
    return {what for what, cases in violations(evidence).items() if cases}


def test_a_history_that_keeps_all_promises_is_not_blamed() -> None:
    assert found(history()) == set()
    assert late_starts(history()) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (add(line(0, "start", SECOND, run="early")), "ran before its dependencies had ended"),
        (change(FIRST, finished_at=7), "ran before its dependencies had ended"),
        (change(FIRST, state=State.FAILED), "ran before its dependencies had ended"),
        (change(THIRD, edges={}), "confirmed, then lost"),
        (change(SECOND, state=State.FAILED), "confirmed, then lost"),
        (change(THIRD, finished_at=9), "cancel lost, or not asked for"),
        (change(SECOND, state=State.CANCELED), "cancel lost, or not asked for"),
        (change(SECOND, result={"run": "of nobody"}), "a result that is not its own"),
        (change(FIRST, handover=3), "a result that is not its own"),
        (change(FIRST, attempt=3), "not the end that it was to have"),
        (change(SECOND, state=State.FAILED, error={"code": "timeout"}), "not the end that it was"),
        (change(SECOND, state=State.SKIPPED), "not the end that it was to have"),
        (add(line(1, "start", FIRST, 3)), "attempts not in order"),
        (add(line(2, "start", FIRST, 2, run="again")), "attempts not in order"),
        (add(line(7, "finished", FIRST, 2, grown=[SECOND])), "grew by halves"),
        (change(THIRD, state=State.QUEUED, finished_at=None), "left open"),
        (change(THIRD, dispatch=2), "left open"),
        (change(LIMITED, options=Options("step", "red", 9, 2, 1)), "confirmed, then lost"),
        (
            change(LIMITED, state=State.FAILED, error={"code": "RuntimeError"}),
            "not the end that it",
        ),
        (add(line(5, "start", LIMITED, 2, run="again", channel="red")), "attempts not in order"),
        (add(line(8, "start", LIMITED, 2, channel="blue")), "ran on a worker of another channel"),
        (
            add(line(8, "start", LIMITED, channel="red", worker="worker 2 a")),
            "ran on a worker of an",
        ),
        (add(line(8, "overran", LIMITED, channel="red")), "ran past its time limit"),
        (add(line(9, "start", THIRD)), "started after its cancel, though claimed"),
        (forget(OTHER), "submitted by halves"),
        (change(OTHER, options=Options("step", "", 9, 1, None)), "submitted by halves"),
        (change(OTHER, finished_at=9), "canceled by halves"),
        (note(without=CancelSent), "cancel lost, or not asked for"),
        (change(THIRD_COPY, state=State.CANCELED), "cancel lost, or not asked for"),
        (forget(FOURTH_COPY), "retry lost, or done twice"),
        (change(FOURTH_COPY, retry_of=THIRD), "retry lost, or done twice"),
        (change(THIRD, retried_as=None), "retry lost, or done twice"),
        (note(Retried(graph=GRAPH.id, copies={THIRD: ONE})), "retry lost, or done twice"),
        (note(Retried(graph=GRAPH.id, copies={})), "retry lost, or done twice"),
        (change(OTHER, retry_of=THIRD), "a copy that is none"),
        (change(THIRD_COPY, options=Options("step", "", 9, 1, None)), "a copy that is none"),
        (change(THIRD_COPY, args={"work": 1, "succeed_at": 1}), "a copy that is none"),
        (change(FOURTH_COPY, edges={}), "a copy that is none"),
        (
            change(FOURTH_COPY, edges={THIRD: Condition.SUCCESS, ONE: Condition.ANY}),
            "a copy that is",
        ),
        (change(FOURTH, retried_as=None), "retried by halves"),
        (
            note(
                RetrySent(wall=20, graph=UNCONFIRMED.id), Retried(graph=UNCONFIRMED.id, copies={})
            ),
            "retried by halves",
        ),
        (note(without=RetrySent), "copied, and nobody asked for it"),
        (transact(3, 2), "written after another had taken over"),
    ],
)
def test_what_breaks_a_promise_is_found(
    change: Callable[[Evidence], Evidence], expected: str
) -> None:
    assert any(what.startswith(expected) for what in found(change(history())))


def test_a_claim_that_was_granted_before_the_cancel_is_no_violation() -> None:
    granted = change(THIRD, worker="worker 1 abc")(add(line(9, "start", THIRD))(history()))
    assert found(granted) == found(add(line(9, "start", THIRD))(history())) - {
        "started after its cancel, though claimed"
    }


def test_an_attempt_that_was_to_succeed_may_be_interrupted_by_its_time_limit() -> None:
    late = change(LIMITED, state=State.FAILED, result=None, error={"code": "timeout"})(history())
    in_time = change(LIMITED, finished_at=7)(late)
    assert "not the end that it was to have" not in found(late)
    assert "not the end that it was to have" in found(in_time)


def graphs(seed: int) -> list[list[tuple[Any, ...]]]:
    return [
        [(job.type, job.args, len(job.dependencies), job.max_attempts) for job in work.graph.jobs]
        for work in islice(works(seed, 0), 50)
    ]


def test_a_confirmed_job_that_is_not_stored_is_found() -> None:
    assert "confirmed, then lost" in found(forget(THIRD)(history()))


def test_a_canceled_job_that_starts_later_is_told_apart() -> None:
    (late,) = late_starts(add(line(1_000_008, "start", THIRD))(history()))
    assert late == (THIRD, 1.0)


def test_a_seed_stands_for_one_plan() -> None:
    for victim in Victim:
        assert [*islice(plan.kills(1, victim), 50)] == [*islice(plan.kills(1, victim), 50)]
    assert graphs(1) == graphs(1)
    assert graphs(1) != graphs(2)
