"""Args and results: bytes that pass through unchanged, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import Invalid, TooLarge
from broker_queue.graph import new_job_id
from broker_queue.job import State
from broker_queue.protocol.codec import RawJson
from tests.support.ends import finish
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE

LIMIT = 1 << 20

TEXTS = {
    "null": b"null",
    "zero": b"0",
    "empty": b'""',
    "nul": b'"\\u0000"',
    "minus-zero": b"-0.0",
    "beyond-64-bits": b"123456789012345678901234567890",
    "beyond-a-float": b"1e999",
    "many-digits": b"0." + b"1" * 5_000,
    "blanks": b'{ "a" : [ 1 ,\t2 ] ,\r\n"a":3 }',
    "unicode": '{"ä😀":"\u2028"}'.encode(),
    "nested": b"[" * 500 + b"]" * 500,
    "nested-to-the-limit": b'{"":' * 889 + b"[]" + b"}" * 889,
    "largest": b'"' + b"x" * (LIMIT - 2) + b'"',
}

BROKEN = {
    "empty": b"",
    "nan": b"NaN",
    "infinity": b"-Infinity",
    "no-utf-8": b'"\xff"',
    "lone-surrogate": b'"\\ud800"',
    "surrogate-as-utf-8": b'"\xed\xa0\x80"',
    "byte-order-mark": b"\xef\xbb\xbf1",
    "two-values": b"1 2",
    "cut-off": b'{"a":',
    "single-quotes": b"'a'",
    "trailing-comma": b"[1,]",
    "leading-zero": b"01",
    "control-character": b'"\x01"',
    "too-deep": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_args_and_results_pass_through_unchanged(
    queue: JobQueue, raw: RawClient, text: bytes
) -> None:
    job = await queue.enqueue("echo", RawJson(text))
    delivery = await raw.take("echo")
    assert delivery.body == text
    answer = await raw.report("finished", delivery.correlation_id, text)
    assert answer == ("accepted", {"state": "finished"})
    status = await queue.job_status(job, args=True)
    assert (status.raw_args, status.raw_result) == (text, text)


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
async def test_args_that_are_no_json_are_refused(
    queue: JobQueue, raw: RawClient, text: bytes
) -> None:
    job = f'{{"id":"{new_job_id()}","type":"a","args":'.encode() + text + b"}"
    kind, error = await raw.request("submit", b'{"jobs":[' + job + b"]}")
    assert (kind, error["code"]) == ("error", "invalid")
    assert (await queue.list()).jobs == []


@pytest.mark.parametrize("text", [text for text in BROKEN.values() if text], ids=list(BROKEN)[1:])
async def test_a_result_that_is_no_json_fails_the_job_with_a_reason(
    queue: JobQueue, raw: RawClient, text: bytes
) -> None:
    job = await queue.enqueue("a", max_attempts=3)
    delivery = await raw.take("a")
    answer = await raw.report("finished", delivery.correlation_id, text)
    assert answer == ("accepted", {"state": "failed"})
    status = await queue.job_status(job)
    assert status.error is not None
    assert status.error.code == "invalid_report"
    assert "result" in status.error.message


async def test_args_over_the_limit_are_refused_with_field_size_and_limit(queue: JobQueue) -> None:
    with pytest.raises(TooLarge) as caught:
        await queue.enqueue("a", "x" * (LIMIT - 1))
    assert caught.value.details == {"field": "jobs[0].args", "size": LIMIT + 1, "limit": LIMIT}
    assert str(LIMIT + 1) in str(caught.value)
    assert (await queue.list()).jobs == []


async def test_a_result_over_the_limit_fails_the_job(queue: JobQueue, raw: RawClient) -> None:
    job = await queue.enqueue("a")
    await finish(raw, "a", b'"' + b"x" * (LIMIT - 1) + b'"')
    status = await queue.wait(job, timeout=PATIENCE)
    assert status.state is State.FAILED
    assert status.error is not None
    assert str(LIMIT) in status.error.message


async def test_an_empty_result_counts_as_null(queue: JobQueue, raw: RawClient) -> None:
    job = await queue.enqueue("a")
    await finish(raw, "a", b"")
    assert (await queue.wait(job, timeout=PATIENCE)).raw_result == b"null"


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


async def test_a_value_is_refused_by_the_client_if_it_has_no_json_form(queue: JobQueue) -> None:
    for wrong in (float("nan"), {"x": float("-inf")}, object(), "\udc00", {1, object()}):
        with pytest.raises(Invalid, match="JSON"):
            await queue.enqueue("a", wrong)
    assert (await queue.list()).jobs == []


async def test_a_value_may_be_nested_deeply_but_not_without_end(queue: JobQueue) -> None:
    job = await queue.enqueue("a", nested(500))
    status = await queue.job_status(job, args=True)
    assert status.raw_args == b"[" * 500 + b"]" * 500
    with pytest.raises(Invalid, match="too deeply"):
        await queue.enqueue("a", nested(100_000))
    with pytest.raises(Invalid, match="too deeply"):
        await queue.enqueue("a", RawJson(b"[" * 100_000 + b"]" * 100_000))


async def test_whatever_nesting_is_taken_can_be_read_again(queue: JobQueue, raw: RawClient) -> None:
    for depth in range(900, 1_000, 5):
        text = b"[" * depth + b"]" * depth
        with suppress(Invalid):  # refused as too deep
            job = await queue.enqueue("a", RawJson(text))
            assert (await queue.job_status(job, args=True)).raw_args == text
            await finish(raw, "a", text)
            assert (await queue.job_status(job)).raw_result in (text, None)
