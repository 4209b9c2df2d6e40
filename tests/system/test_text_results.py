"""A result that is text: only if its content type says so, and then always."""

from __future__ import annotations

import json

import pytest

from broker_queue.client import JobQueue
from broker_queue.job import State
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE

LIMIT = 1 << 20


@pytest.mark.parametrize("kind", ["finished", None, ""], ids=["finished", "untyped", "empty"])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", "42"),
        ("text/plain", '{"a": 1}'),
        ("text/plain", ""),
        ("text/plain", ' \n\0"\\\u2028😀'),
        ("Text/Plain; Charset=UTF-8", "ä"),
        ('text/plain;charset="utf8"', "ä"),
        ("text/plain; format=flowed; charset=us-ascii", "a"),
        ("TEXT/PLAIN ; CHARSET = US-ASCII", "a"),
    ],
)
async def test_text_is_a_string_whatever_it_looks_like(
    raw: RawClient, queue: JobQueue, kind: str | None, content_type: str, body: str
) -> None:
    job = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    answer = await raw.report(kind, token, body.encode(), content_type=content_type)
    assert answer == ("accepted", {"state": "finished"})
    status = await queue.job_status(job)
    assert status.result == body
    assert status.raw_result == json.dumps(body, ensure_ascii=False).encode()


@pytest.mark.parametrize("content_type", ["", "application/json", "text/json", "text/plainer", "é"])
async def test_any_other_body_is_json(raw: RawClient, queue: JobQueue, content_type: str) -> None:
    right, wrong = await queue.enqueue("a"), await queue.enqueue("a")
    for body in (b"42", b"done"):
        token = (await raw.take("a")).correlation_id
        assert (await raw.report("finished", token, body, content_type=content_type)).body
    assert (await queue.job_status(right)).result == 42
    error = (await queue.job_status(wrong)).error
    assert error is not None
    assert error.code == "invalid_report"
    assert "send it as JSON, or as UTF-8 text with content_type text/plain" in error.message


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("text/plain; charset=iso-8859-1", b"a", "'iso-8859-1', and only utf-8 and us-ascii"),
        ("text/plain; charset=utf-16", b"a", "send it in utf-8"),
        ("text/plain; charset=", b"a", "result is text in ''"),
        ("text/plain", b"a\xff", "invalid start byte at byte 1"),
        ("text/plain; charset=us-ascii", "ä".encode(), "text in us-ascii, and is not"),
    ],
)
async def test_text_in_another_charset_fails_the_job(
    raw: RawClient, queue: JobQueue, content_type: str, body: bytes, words: str
) -> None:
    job = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    answer = await raw.report("finished", token, body, content_type=content_type)
    assert answer == ("accepted", {"state": "failed"})
    error = (await queue.job_status(job)).error
    assert error is not None
    assert error.code == "invalid_report"
    assert words in error.message


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (b"x" * (LIMIT - 2), LIMIT),
        (b"x" * (LIMIT - 1), LIMIT + 1),
        (b'"' * (LIMIT // 2), LIMIT + 2),
    ],
    ids=["largest", "too-large", "too-large-as-json"],
)
async def test_the_limit_counts_the_string_as_json(
    raw: RawClient, queue: JobQueue, body: bytes, size: int
) -> None:
    job = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    await raw.report("finished", token, body, content_type="text/plain")
    status = await queue.wait(job, timeout=PATIENCE)
    if size <= LIMIT:
        assert status.state is State.FINISHED
    else:
        assert status.error is not None
        assert f"result has {size} bytes, the limit is {LIMIT}" in status.error.message
        assert "text/plain" not in status.error.message


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("failed", {"message": "no"}),
        ("finished_with_jobs", {"result": "42"}),
        ("started", {}),
        ("progress", {"fraction": 0.5}),
    ],
)
async def test_other_reports_are_json_whatever_their_content_type(
    raw: RawClient, queue: JobQueue, kind: str, body: object
) -> None:
    job = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    answer = await raw.report(kind, token, body, content_type="text/plain")
    assert answer.type == "accepted"
    error = (await queue.job_status(job)).error
    assert error is None or error.code == "failed"


async def test_a_batch_is_json_whatever_its_content_type(raw: RawClient, queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    items = [{"token": (await raw.take("a")).correlation_id, "body": 42}]
    body = json.dumps(items).encode()
    await raw.publish(raw.names.reports, "reports", body, type="batch", content_type="text/plain")
    assert await queue.result(job, timeout=PATIENCE) == 42
