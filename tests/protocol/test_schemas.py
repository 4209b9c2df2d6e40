"""The JSON Schemas and the code say the same of every body, right or wrong."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator
from msgspec import UNSET

from broker_queue.errors import Invalid
from broker_queue.job import Verdict
from broker_queue.protocol import messages, reports
from broker_queue.protocol.codec import decode
from broker_queue.protocol.job_headers import JobHeaders, read_job_headers
from broker_queue.protocol.messages import null
from broker_queue.protocol.names import Names
from broker_queue.protocol.operations import REQUESTS
from scheduler.incoming.bare import read_bare
from scheduler.rules.submission import id_bytes
from tests.protocol.drawing import DEFINITIONS, body, changed
from tests.support.asyncapi.document import document
from tests.support.asyncapi.examples import examples
from tests.support.asyncapi.messages import IN_DOCUMENT
from tests.support.job_messages import WRONG_HEADERS
from tests.support.schemas import BARE_REQUEST, IN_SCHEMAS, by_message
from tests.support.schemas import document as schemas_text
from tests.support.validating import Schemas

WHOLE = json.loads(schemas_text())
SCHEMAS = Schemas(WHOLE)

DOCUMENT = document(Names("bq"))
ASYNCAPI = Schemas(DOCUMENT)

BODIES = by_message()
MODELS: dict[str, Any] = {
    **{f"request.{name}": found.request for name, found in REQUESTS.items()},
    **{f"answer.{name}": found.answer for name, found in REQUESTS.items()},
    **{f"report.{name}": model for name, model in reports.REPORTS.items()},
    "answer.error": messages.Error,
    "event": messages.JobEvent,
    "control.cancel": messages.CancelControl,
    "verdict.accepted": reports.ReportAnswer,
}
"""What the code reads each body as; that of ``finished`` as what it is, JSON."""

NEWER = {"protocol": 2}
"""Not wrong as such: it is for another version."""

SCALE = float(os.environ.get("TEST_SCALE", "1"))
"""Multiplies how many bodies are drawn."""

many = settings(
    max_examples=max(20, round(300 * SCALE)),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def problem_by_code(message: str, value: Any) -> str | None:
    text = json.dumps(value).encode()
    try:
        if message == BARE_REQUEST:
            read_bare(text, "0" * 32)
            return None
        read = decode(text, MODELS[message])
        if message == "report.batch":
            check_items(read)
    except Invalid as error:
        return error.message
    return None


def check_items(items: list[reports.BatchItem]) -> None:
    """Read the body of each item as that of a report of its own."""
    for item in items:
        if item.body is not UNSET and item.body != null():
            decode(bytes(item.body), reports.REPORTS[item.type])


def problem_by_schema(message: str, value: Any) -> str | None:
    return SCHEMAS.problem(value, f"{IN_SCHEMAS}{message}")


def test_the_schemas_are_json_schemas() -> None:
    Draft202012Validator.check_schema(WHOLE)
    Draft7Validator.check_schema({"definitions": DOCUMENT["components"]["schemas"]})


def test_every_reference_leads_to_a_schema() -> None:
    found = set(json.dumps(WHOLE).split('"$ref": "')[1:])
    named = {text.partition('"')[0].removeprefix(IN_SCHEMAS) for text in found}
    assert named <= set(WHOLE["$defs"])


def test_every_message_of_the_protocol_is_found_by_its_name() -> None:
    wanted = {
        *(f"request.{name}" for name in REQUESTS),
        BARE_REQUEST,
        *(f"answer.{name}" for name in REQUESTS),
        *(f"report.{name}" for name in reports.REPORTS),
        *(f"verdict.{verdict}" for verdict in Verdict),
        *("answer.error", "job", "job.headers", "event", "control.cancel", "dead", "parked"),
    }
    assert set(BODIES) == wanted
    assert wanted <= set(WHOLE["$defs"])


@pytest.mark.parametrize("message", [name for name in BODIES if name != "job.headers"])
def test_every_example_is_right_by_schema_and_code(message: str) -> None:
    (component,) = (
        found for found in DOCUMENT["components"]["messages"].values() if found["name"] == message
    )
    assert component["examples"]
    for shown in component["examples"]:
        assert problem_by_schema(message, shown["payload"]) is None
        if message in {*MODELS, BARE_REQUEST}:
            assert problem_by_code(message, shown["payload"]) is None
        assert ASYNCAPI.problem_by(shown["payload"], component["payload"]) is None
        assert ASYNCAPI.problem_by(shown.get("headers", {}), component["headers"]) is None


@many
@given(st.sampled_from(sorted(MODELS)).flatmap(lambda m: st.tuples(st.just(m), body(BODIES[m]))))
def test_what_the_schema_allows_the_code_takes(drawn: tuple[str, Any]) -> None:
    message, value = drawn
    assert problem_by_schema(message, value) is None
    assert problem_by_code(message, value) is None


@settings(many, max_examples=max(50, round(1_000 * SCALE)))
@given(st.sampled_from(sorted(MODELS)).flatmap(lambda m: st.tuples(st.just(m), changed(BODIES[m]))))
def test_schema_and_code_agree_on_what_is_wrong(drawn: tuple[str, Any]) -> None:
    message, value = drawn
    by_code, by_schema = problem_by_code(message, value), problem_by_schema(message, value)
    assert (by_code is None) == (by_schema is None), (by_code, by_schema)


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        ("request.status", {}),
        ("request.status", {"jobs": []}),
        ("request.submit", {"colour": 1}),
        ("request.submit", {"jobs": [{"id": "0" * 32, "colour": 1}]}),
        ("request.submit", {"jobs": [{"id": "0" * 32, "type": "two words"}]}),
        ("request.submit", {"jobs": [{"id": "0" * 32, "type": "a\n"}]}),
        ("request.submit", {"jobs": [{"id": "0" * 32, "priority": 10}]}),
        ("request.wait", {"jobs": ["0" * 32], "timeout": "long"}),
        (BARE_REQUEST, {}),
        (BARE_REQUEST, []),
        (BARE_REQUEST, {"args": {"width": 100}}),
        (BARE_REQUEST, {"type": None}),
        (BARE_REQUEST, {"type": "resize", "jobs": []}),
        (BARE_REQUEST, {"jobs": [], "part": 1}),
        ("report.failed", {"code": ""}),
        ("report.failed", {"retry": 1}),
        ("report.progress", {"fraction": 1.5}),
        ("report.progress", {"colour": 1}),
        ("report.lease", []),
        ("report.batch", {}),
        ("report.batch", [{"token": "t", "type": "lease"}]),
        ("report.batch", [{"token": "t", "type": "failed", "body": {"colour": 1}}]),
        ("report.batch", [{"token": "t", "type": "progress", "body": {"fraction": 2}}]),
        ("report.finished_with_jobs", {"jobs": None}),
        ("answer.submit", {}),
        ("event", {"job": "0" * 32, "state": "lost", "at": 0}),
    ],
)
def test_what_is_wrong_is_wrong_by_schema_and_code(message: str, wrong: Any) -> None:
    assert problem_by_schema(message, wrong) is not None
    assert problem_by_code(message, wrong) is not None


def test_that_an_integer_has_no_fraction_only_the_code_can_say() -> None:
    assert problem_by_schema("request.list", {"limit": 1.0}) is None
    assert problem_by_code("request.list", {"limit": 1.0}) == "limit: expected int, got float"


@pytest.mark.parametrize("message", ["answer.submit", "answer.error", "event", "control.cancel"])
def test_what_the_scheduler_says_may_have_more_fields(message: str) -> None:
    more = examples(message)[0]["payload"] | {"colour": 1}
    assert problem_by_schema(message, more) is None
    assert problem_by_code(message, more) is None


@many
@given(st.text("09afAF-- gG\n", min_size=30, max_size=38))
def test_the_schema_knows_ids_as_the_scheduler_does(text: str) -> None:
    schema = DEFINITIONS["Explain"]["properties"]["job"]
    try:
        id_bytes(text, "job")
        is_id = len(text) <= schema["maxLength"]
    except Invalid:
        is_id = False
    assert (SCHEMAS.problem_by(text, schema) is None) == is_id


@many
@given(body("JobHeaders"))
def test_the_headers_that_the_schema_allows_a_worker_takes(headers: dict[str, Any]) -> None:
    headers["protocol"] = 1
    assert isinstance(read_job_headers(headers), JobHeaders)


@pytest.mark.parametrize("wrong", [each for each in WRONG_HEADERS if each != NEWER], ids=str)
def test_a_header_that_a_worker_refuses_the_schema_refuses_too(wrong: dict[str, Any]) -> None:
    headers = examples("job")[0]["headers"] | wrong
    assert SCHEMAS.problem(headers, f"{IN_SCHEMAS}JobHeaders") is not None
    assert ASYNCAPI.problem(headers, f"{IN_DOCUMENT}JobHeaders") is not None
