"""The checks of the crash tests find what they are there to find; no broker, no processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec
import pytest

from broker_queue.graph import Graph
from broker_queue.job import Condition, JobId, State
from tests.faults import plan
from tests.faults.checks import CHECKS, late_starts, options_of
from tests.faults.client import Canceled, Record, Told
from tests.faults.database import Options, StoredJob
from tests.faults.evidence import Evidence
from tests.faults.journal import Line
from tests.faults.plan import PlannedCancel, Victim

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


def stored(job: JobId, **changes: Any) -> StoredJob:
    spec = next(spec for spec in GRAPH.jobs if spec.id == job)
    given: dict[str, Any] = {
        "id": job, "graph": GRAPH.id, "state": State.FINISHED, "attempt": 1,
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

    A fourth is stopped by its time limit, and succeeds then.
    """
    jobs = [
        stored(FIRST, attempt=2, handover=2, finished_at=5, result=result(FIRST, 2)),
        stored(SECOND, finished_at=9, result=result(SECOND)),
        stored(THIRD, state=State.CANCELED, attempt=0, handover=0, finished_at=8),
        stored(LIMITED, attempt=2, handover=2, finished_at=9, result=result(LIMITED, 2)),
    ]
    lines = [
        line(1, "start", FIRST),
        line(2, "failed", FIRST),
        line(3, "start", FIRST, 2),
        line(4, "finished", FIRST, 2, result=result(FIRST, 2)),
        line(6, "start", SECOND, inputs={FIRST: result(FIRST, 2)["run"]}),
        line(7, "finished", SECOND, result=result(SECOND)),
        line(4, "start", LIMITED, channel="red"),
        line(6, "stopped", LIMITED, channel="red"),
        line(7, "start", LIMITED, 2, channel="red"),
        line(8, "finished", LIMITED, 2, channel="red", result=result(LIMITED, 2)),
    ]
    cancel = PlannedCancel(job=THIRD, dependents=False, after=0.0)
    record = Record(
        submitted=[GRAPH],
        cancels_sent=[(GRAPH.id, cancel)],
        canceled=[Canceled(GRAPH.id, THIRD, dependents=False, at=8, wall=8)],
        told=[Told(SECOND, State.FINISHED, None)],
    )
    return Evidence({job.id: job for job in jobs}, lines, record, epochs=[1, 1, 2])


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


def found(evidence: Evidence) -> set[str]:
    return {what for what, check in CHECKS.items() if list(check(evidence))}


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
        for work in islice(plan.works(seed, 0), 50)
    ]


def test_a_confirmed_job_that_is_not_stored_is_found() -> None:
    check = CHECKS["confirmed, then lost"]
    assert list(check(forget(THIRD)(history())))


def test_a_canceled_job_that_starts_later_is_told_apart() -> None:
    (late,) = late_starts(add(line(1_000_008, "start", THIRD))(history()))
    assert late == (THIRD, 1.0)


def test_a_seed_stands_for_one_plan() -> None:
    for victim in Victim:
        assert [*islice(plan.kills(1, victim), 50)] == [*islice(plan.kills(1, victim), 50)]
    assert graphs(1) == graphs(1)
    assert graphs(1) != graphs(2)
