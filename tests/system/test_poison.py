"""Messages made to stop a scheduler: it goes on, and says what it made of them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
from aiormq import spec
from pamqp import encode

from broker_queue.client import JobQueue
from broker_queue.graph import new_job_id
from broker_queue.job import State
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE

NO_TEXT = b"\xff" * 200
"""No UTF-8. With replacement characters it would be longer than a property may be."""


def nested_table(levels: int) -> bytes:
    """A header that is an array in an array in an array …, deeper than a library can write."""
    value = b""
    for _ in range(levels):
        value = b"A" + len(value).to_bytes(4, "big") + value
    member = b"\x01n" + value
    return len(member).to_bytes(4, "big") + member


async def publish_as_encoded(
    raw: RawClient,
    queue: str,
    encoded: dict[str, bytes],
    table: bytes = b"\0\0\0\0",
    **properties: str,
) -> None:
    """Publish with properties, and a table of headers, of these very bytes."""
    placeholders = {name: f"placeholder {name}" for name in encoded}
    given = spec.Basic.Properties(
        delivery_mode=2, headers={"placeholder": 1}, **properties, **placeholders
    )
    by_placeholder = {placeholders[name]: value for name, value in encoded.items()}
    strict = encode.METHODS["shortstr"]

    def short_string(value: str) -> bytes:
        odd = by_placeholder.get(value)
        return strict(value) if odd is None else bytes([len(odd)]) + odd

    given.message_id = new_job_id()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(encode.METHODS, "shortstr", short_string)
        patch.setitem(encode.METHODS, "table", lambda _value: table)
        marshaled = given.marshal()
    kind = type("Odd", (type(given),), {"marshal": lambda _self: marshaled})
    await raw.channel.underlying.basic_publish(
        b"{}", routing_key=queue, properties=kind(delivery_mode=2, message_id=given.message_id)
    )


async def request_with_odd_correlation(raw: RawClient) -> None:
    await publish_as_encoded(
        raw,
        raw.names.requests,
        {"correlation_id": NO_TEXT},
        message_type="fly",
        reply_to="amq.rabbitmq.reply-to",
    )


async def request_with_odd_address(raw: RawClient) -> None:
    odd = b"amq.gen-" + NO_TEXT
    await publish_as_encoded(raw, raw.names.requests, {"reply_to": odd}, message_type="fly")


async def request_of_odd_type(raw: RawClient) -> None:
    await publish_as_encoded(raw, raw.names.requests, {"message_type": NO_TEXT})


async def report_with_odd_token(raw: RawClient) -> None:
    await publish_as_encoded(raw, raw.names.reports, {"correlation_id": NO_TEXT})


async def nested_headers(raw: RawClient) -> None:
    await publish_as_encoded(raw, raw.names.requests, {}, nested_table(2_000), message_type="fly")


async def headers_whose_name_is_no_text(raw: RawClient) -> None:
    table = b"\0\0\0\x05" + b"\x02\xff\xfe" + b"t\x01"
    await publish_as_encoded(raw, raw.names.requests, {}, table, message_type="fly")


@pytest.mark.parametrize(
    "poison",
    [
        request_with_odd_correlation,
        request_with_odd_address,
        request_of_odd_type,
        report_with_odd_token,
        nested_headers,
        headers_whose_name_is_no_text,
    ],
)
async def test_a_message_from_anybody_does_not_stop_the_scheduler(
    raw: RawClient, queue: JobQueue, poison: Callable[[RawClient], Awaitable[None]]
) -> None:
    for _ in range(3):
        await poison(raw)
    milestone = await queue.enqueue(None)
    assert (await queue.wait(milestone, timeout=PATIENCE)).state is State.FINISHED


async def test_text_that_is_none_is_parked_with_question_marks(
    raw: RawClient, queue: JobQueue
) -> None:
    await report_with_odd_token(raw)
    assert (await raw.parked()).correlation_id == "?" * 200


async def test_a_wrong_item_of_a_batch_fails_its_own_job_only(
    raw: RawClient, queue: JobQueue
) -> None:
    jobs = [await queue.enqueue("a", max_attempts=5) for _ in range(5)]
    tokens = [(await raw.take("a")).correlation_id for _ in jobs]
    wrong: list[object] = [
        {"token": tokens[1], "type": "nonsense"},
        {"token": tokens[2], "started": -1},
        {"token": tokens[3], "surplus": 1},
    ]
    right: list[object] = [{"token": tokens[0], "body": 1}, {"token": tokens[4], "body": 2}]
    await raw.tell("batch", None, [right[0], *wrong, 7, {"body": 1}, right[1]])
    states = [(await queue.wait(job, timeout=PATIENCE)).state for job in jobs]
    assert states == [State.FINISHED, *[State.FAILED] * 3, State.FINISHED]
    error = (await queue.job_status(jobs[1])).error
    assert error is not None
    assert (error.code, "nonsense" in error.message) == ("invalid_report", True)
    assert (await raw.parked()).headers["reason"] == "batch: 2 of 7 tokens are unknown"


async def test_long_details_are_left_out_of_a_failure_that_counts_all_the_same(
    raw: RawClient, queue: JobQueue
) -> None:
    job = await queue.enqueue("a", max_attempts=2)
    token = (await raw.take("a")).correlation_id
    failed = {"code": "broken", "details": "x" * 70_000, "delay": 60}
    assert (await raw.report("failed", token, failed)).body == {"state": "scheduled"}
    answer = await raw.request("status", {"jobs": [job]})
    error = answer.body["jobs"][0]["error"]
    assert error["code"] == "broken"
    assert "the limit is 65536" in error["details"]["problem"]


async def test_progress_with_long_data_fails_its_job_with_the_limit(
    raw: RawClient, queue: JobQueue
) -> None:
    job = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    answer = await raw.report("progress", token, {"data": "x" * 70_000})
    assert answer == ("accepted", {"state": "failed"})
    assert "data has 70002 bytes, the limit is 65536" in (await queue.job_status(job)).reason


async def test_a_dead_letter_with_a_reason_that_no_broker_gives_fails_its_job(
    raw: RawClient, queue: JobQueue
) -> None:
    job = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    reason = {"x-first-death-reason": "{0} {count.x}"}
    await raw.publish(raw.names.dead, "", b"1", correlation_id=token, headers=reason)
    status = await queue.wait(job, timeout=PATIENCE)
    assert status.reason == "the broker gave up on it: {0} {count.x} (dead_letter)"


@pytest.mark.parametrize(
    ("operation", "body", "field"),
    [
        ("explain", {"job": new_job_id()}, "job"),
        ("add_dependencies", {"job": new_job_id()}, "job"),
        ("add_dependencies", {"job": 0}, "job"),
        ("submit", {"extend": [{"job": new_job_id()}]}, "extend[0].job"),
        ("submit", {"part": 3, "parts": 1, "graph": {"id": new_job_id()}}, "part"),
    ],
)
async def test_an_error_names_the_field_as_the_request_has_it(
    raw: RawClient, operation: str, body: dict[str, object], field: str
) -> None:
    answer = await raw.request(operation, body)
    assert answer.type == "error"
    assert answer.body["details"]["field"] == field
    assert answer.body["message"].startswith(f"{field}: ")


async def test_overlapping_places_are_named_one_by_one(raw: RawClient) -> None:
    other = new_job_id()
    job = {
        "id": new_job_id(),
        "type": "a",
        "args": {"x": {"y": None}},
        "references": [{"at": "/x", "job": other}, {"at": "/x/y", "job": other}],
    }
    answer = await raw.request("submit", {"jobs": [job]})
    assert answer.body["details"] == {"field": "jobs[0].references[1].at"}
    assert "jobs[0].references[0].at replaces" in answer.body["message"]


async def test_parts_of_two_submits_never_come_together(raw: RawClient, queue: JobQueue) -> None:
    graph = {"id": new_job_id()}
    ids = [new_job_id() for _ in range(4)]

    async def send(part: int, parts: int, job: str) -> bool:
        body = {"graph": graph, "part": part, "parts": parts, "jobs": [{"id": job, "name": job}]}
        answer = await raw.request("submit", json.dumps(body).encode())
        assert answer.type == "ok"
        return answer.body.get("complete", True)

    assert not await send(3, 3, ids[0])
    assert not await send(1, 2, ids[1])  # counts other parts: the first is forgotten
    assert not await send(1, 2, ids[2])  # not as it was sent before: that one is forgotten
    assert not await send(1, 2, ids[2])  # as it was: nothing changes
    assert await send(2, 2, ids[3])
    assert {job.name for job in (await queue.list(graph=graph["id"])).jobs} == {ids[2], ids[3]}
