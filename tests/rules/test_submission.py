"""What a submit may say, and what its digest tells apart."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from broker_queue.errors import Cycle, Invalid, TooLarge
from broker_queue.graph import new_job_id
from broker_queue.job import Condition
from broker_queue.protocol.messages import Backoff, Dependency, Extension, NewJob, Reference
from scheduler.rules.submission import Limits, id_bytes, id_text, plan_submit

LIMITS = Limits(max_args_bytes=100, max_jobs=3, max_dependencies=2)


def job(**fields: Any) -> NewJob:
    return NewJob(**{"id": new_job_id(), "type": "t"} | fields)


def test_positions_ids_and_objects_name_the_same_dependency_once() -> None:
    first = job()
    second = job(dependencies=[0, first.id, Dependency(job=0, condition=Condition.ANY)])
    plan = plan_submit([first, second], [], LIMITS)
    assert plan.jobs[1].dependencies == {0: Condition.SUCCESS}
    assert plan.external == set()


def test_a_reference_is_a_dependency_too() -> None:
    first = job()
    second = job(args=Raw(b'{"a":null}'), references=[Reference(at="/a", job=0, pointer="/x")])
    assert plan_submit([first, second], [], LIMITS).jobs[1].dependencies == {0: Condition.SUCCESS}


@pytest.mark.parametrize(
    ("jobs", "field"),
    [
        ([job(type=None, args=Raw(b"1"))], "jobs[0].args"),
        ([job(delay=1.0, available_at=5)], "jobs[0].delay"),
        ([job(dependencies=[7])], "jobs[0].dependencies[0]"),
        ([job(dependencies=["x" * 32])], "jobs[0].dependencies[0]"),
        ([job(), job(references=[Reference(at="a", job=0)])], "jobs[1].references[0].at"),
        ([job(args=Raw(b'"\xff"'))], "jobs[0].args"),
    ],
)
def test_a_field_that_cannot_be_is_named(jobs: list[NewJob], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        plan_submit(jobs, [], LIMITS)
    assert caught.value.details["field"] == field
    assert field in caught.value.message


def test_limits_are_named_with_the_size() -> None:
    with pytest.raises(TooLarge, match=r"jobs\[0\].args has 102 bytes, the limit is 100"):
        plan_submit([job(args=Raw(b'"' + b"x" * 100 + b'"'))], [], LIMITS)
    with pytest.raises(TooLarge, match="jobs: 4 items, the limit is 3"):
        plan_submit([job() for _ in range(4)], [], LIMITS)
    with pytest.raises(TooLarge, match="dependencies: 3 items"):
        plan_submit([job(dependencies=[new_job_id() for _ in range(3)])], [], LIMITS)


def test_the_same_id_twice_in_one_submit_is_refused() -> None:
    first = job()
    with pytest.raises(Invalid, match=r"is the id of jobs\[0\] too"):
        plan_submit([first, job(id=first.id)], [], LIMITS)


def test_cycles_are_named_by_the_names_of_their_jobs() -> None:
    with pytest.raises(Cycle, match=r"wait for each other: (a → b → a|b → a → b)"):
        plan_submit([job(name="a", dependencies=[1]), job(name="b", dependencies=[0])], [], LIMITS)
    with pytest.raises(Cycle):
        plan_submit([job(dependencies=[0])], [], LIMITS)
    identity = new_job_id()
    with pytest.raises(Cycle):
        plan_submit([], [Extension(job=identity, dependencies=[identity])], LIMITS)


def test_the_digest_does_not_care_how_a_dependency_is_named() -> None:
    first, identity = job(), new_job_id()
    by_position = plan_submit([first, job(id=identity, dependencies=[0])], [], LIMITS)
    by_id = plan_submit([job(id=identity, dependencies=[first.id])], [], LIMITS)
    other = plan_submit([job(id=identity, dependencies=[first.id], priority=9)], [], LIMITS)
    assert by_position.jobs[1].digest == by_id.jobs[0].digest != other.jobs[0].digest


PARENT, OTHER = new_job_id(), new_job_id()

CONTENT: dict[str, dict[str, Any]] = {
    "type": {"type": "other"},
    "args": {"args": Raw(b'{"a":1,"b":2}')},
    "name": {"name": "other"},
    "channel": {"channel": "other"},
    "priority": {"priority": 9},
    "max_attempts": {"max_attempts": 2},
    "backoff": {"backoff": Backoff(initial=2.0)},
    "timeout": {"timeout": 1.0},
    "delay": {"delay": 1.0},
    "available_at": {"available_at": 1},
    "dependencies": {"dependencies": [Dependency(job=OTHER)]},
    "dependencies: condition": {"dependencies": [Dependency(job=PARENT, condition=Condition.ANY)]},
    "references": {"references": [Reference(at="/a", job=PARENT)]},
    "references: at": {"references": [Reference(at="/b", job=PARENT, pointer="/x")]},
    "references: pointer": {"references": [Reference(at="/a", job=PARENT, pointer="/y")]},
    "references: job": {"references": [Reference(at="/a", job=OTHER, pointer="/x")]},
}

NOT_CONTENT = {"id", "traceparent"}


def digest(fields: dict[str, Any]) -> bytes:
    return plan_submit([NewJob(**fields)], [], LIMITS).jobs[0].digest


@pytest.mark.parametrize("change", CONTENT.values(), ids=CONTENT)
def test_other_content_has_another_digest(change: dict[str, Any]) -> None:
    before = {"id": new_job_id(), "type": "t", "args": Raw(b'{"a":1,"b":1}')}
    if "references" in change:
        before["references"] = [Reference(at="/a", job=PARENT, pointer="/x")]
    else:
        before["dependencies"] = [Dependency(job=PARENT)]
    assert digest(before) == digest({**before, "id": new_job_id()})
    assert digest(before) != digest(before | change)


def test_every_field_of_a_job_is_content_or_known_not_to_be() -> None:
    known = {name.partition(":")[0] for name in CONTENT} | NOT_CONTENT
    assert known == set(NewJob.__struct_fields__)


def test_ids_survive_their_two_forms() -> None:
    identity = new_job_id()
    assert id_text(id_bytes(identity, "id")) == identity
    assert id_text(id_bytes(identity.upper().replace("-", ""), "id")) == identity


@pytest.mark.parametrize("wrong", ["0 1 " * 8, "00 " * 12, "00" * 15 + "  ", "0" * 31 + "x"])
def test_what_is_no_id_is_refused(wrong: str) -> None:
    with pytest.raises(Invalid, match="is no UUID"):
        id_bytes(wrong, "id")


def test_an_id_has_no_spaces() -> None:
    with pytest.raises(Invalid, match="is no UUID"):
        id_bytes("00 " * 4 + "00" * 12, "id")
