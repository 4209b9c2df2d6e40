"""The headers of a job's message: what is published is what is read, the rest is refused by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker_queue.errors import Invalid
from broker_queue.graph import new_job_id
from broker_queue.protocol.job_headers import JobHeaders, read_job_headers
from tests.support.job_messages import WRONG_HEADERS

LEAST = {"protocol": 1, "attempt": 1, "max_attempts": 3, "dependency_count": 0}


def test_what_a_job_does_not_have_is_left_out() -> None:
    assert JobHeaders(protocol=1, attempt=1, max_attempts=3, dependency_count=0).to_table() == LEAST


def test_what_was_published_is_read() -> None:
    headers = JobHeaders(
        protocol=1,
        attempt=2,
        max_attempts=3,
        dependency_count=1,
        dependencies=[new_job_id()],
        timeout=1.5,
        channel="acme",
        name="a name",
        graph=new_job_id(),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert read_job_headers(headers.to_table()) == headers


def test_headers_that_a_broker_or_a_shovel_adds_are_passed_over() -> None:
    added = {"x-delivery-count": 3, "x-opt-time": datetime(2026, 1, 1, tzinfo=UTC), "x": [b"\xff"]}
    assert read_job_headers(LEAST | added) == read_job_headers(LEAST)


@pytest.mark.parametrize("wrong", WRONG_HEADERS, ids=str)
def test_a_header_that_is_wrong_is_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(Invalid, match=rf"^headers\.{name}") as error:
        read_job_headers(LEAST | wrong)
    assert error.value.details["field"].startswith(f"headers.{name}")


@pytest.mark.parametrize("missing", LEAST)
def test_a_header_that_is_missing_is_named(missing: str) -> None:
    with pytest.raises(Invalid, match=f"headers: object missing required field {missing}"):
        read_job_headers({name: value for name, value in LEAST.items() if name != missing})


def test_a_newer_protocol_is_refused_whatever_its_headers_are() -> None:
    with pytest.raises(Invalid, match="version 2 of the protocol, and this program speaks"):
        read_job_headers({"protocol": 2, "attempt": "second"})
