"""The limits in words are those of the wire."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from broker_queue.cli import limits
from broker_queue.cli.job_options import read_options
from broker_queue.errors import Invalid
from broker_queue.protocol import messages
from broker_queue.protocol.codec import decode
from broker_queue.worker import MAX_CONCURRENCY
from tests.cli.conftest import job_id


def the_wire_takes(field: str, value: Any) -> bool:
    backoff = field in ("initial", "factor", "jitter", "maximum")
    fields = {"backoff": messages.Backoff(**{field: value})} if backoff else {field: value}
    body = messages.encode(messages.NewJob(id=job_id(1), **fields))
    try:
        decode(body, messages.NewJob)
    except Invalid:
        return False
    return True


def we_take(check: Callable[[Any], Any], value: Any) -> bool:
    try:
        check(value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("field", "check", "values"),
    [
        ("type", limits.job_type, ["a", "a" * 100, "a" * 101, "a.b:c_d-E9", "ä", "a b", "a\n", ""]),
        ("channel", limits.channel, ["", "c" * 60, "c" * 61, "a b", "eu.1", "eu\n"]),
        ("name", limits.label, ["", "n" * 200, "n" * 201, "any thing"]),
        ("delay", limits.span, [0.0, -0.1, 315_360_000.0, 315_360_001.0]),
        ("timeout", lambda v: limits.span(v, above_zero=True), [0.0, 0.001, 315_360_001.0]),
    ],
)
def test_texts_and_spans(field: str, check: Callable[[Any], Any], values: list[Any]) -> None:
    assert [we_take(check, value) for value in values] == [
        the_wire_takes(field, value) for value in values
    ]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("priority", [-1, 0, 9, 10]),
        ("max_attempts", [0, 1, 1_000, 1_001]),
        ("initial", [0.0, -1.0, 315_360_001.0]),
        ("factor", [0.9, 1, 100, 100.5]),
        ("jitter", [-0.1, 0, 1, 1.1]),
    ],
)
def test_numbers(field: str, values: list[Any]) -> None:
    is_backoff = field in ("initial", "factor", "jitter")
    for value in values:
        given = {"backoff": {field: value}} if is_backoff else {field: value}
        complaints: dict[str, str] = {}
        read_options(given, complaints.__setitem__)
        assert (not complaints) == the_wire_takes(field, value), (field, value, complaints)


def test_a_pointer_is_no_longer_than_the_wire_allows() -> None:
    for length in (limits.MAX_POINTER, limits.MAX_POINTER + 1):
        at = "/" + "p" * (length - 1)
        body = messages.encode(messages.Reference(at=at, job=job_id(1)))
        try:
            decode(body, messages.Reference)
            is_taken = True
        except Invalid:
            is_taken = False
        assert we_take(limits.pointer, at) is is_taken


def test_auto_is_a_process_for_each_cpu_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 4, 6}, raising=False)
    assert limits.process_count("auto") == 3
    assert limits.process_count(str(limits.MAX_PROCESSES)) == limits.MAX_PROCESSES


def test_a_command_line_takes_as_many_jobs_at_once_as_a_worker() -> None:
    assert limits.MAX_CONCURRENCY == MAX_CONCURRENCY
