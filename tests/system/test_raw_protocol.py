"""Messages that do not keep the protocol: answered or parked with a reason, and the loop goes on."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pamqp import encode

from broker_queue.amqp.channel import Outgoing
from broker_queue.client import JobQueue
from broker_queue.graph import new_job_id
from broker_queue.job import State
from tests.support.ends import finish
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE, until


async def submit_to(raw: RawClient, reply_to: str | None, body: bytes = b"{}") -> None:
    await raw.publish(raw.names.requests, "requests", body, type="submit", reply_to=reply_to)


@pytest.mark.parametrize(
    ("operation", "body", "field"),
    [
        ("fly", b"{}", "type"),
        (None, b"{}", "type"),
        ("submit", b"no json", ""),
        ("submit", b"[]", ""),
        ("submit", b"\xff\xfe", ""),
        ("submit", b"[" * 100_000, ""),
        ("submit", b'{"jobs": 1}', "jobs"),
        ("submit", b'{"jbos": []}', ""),
        ("status", b"{}", ""),
        ("status", b'{"jobs": []}', "jobs"),
        ("status", json.dumps({"jobs": ["x" * 36]}).encode(), "jobs[0]"),
        ("cancel", b"{}", "jobs"),
        ("retry", b"{}", "jobs"),
        ("list", b'{"limit": 0}', "limit"),
        ("list", json.dumps({"before": 10**30}).encode(), "before"),
        (
            "wait",
            json.dumps({"jobs": ["31169d7c-de1d-433e-8c80-97d331b10de6"], "timeout": 1e9}).encode(),
            "timeout",
        ),
        ("hello", b'{"worker": "w", "types": ["a\\n"]}', "types[0]"),
        ("hello", b'{"worker": "\\ud800", "types": []}', ""),
    ],
)
async def test_a_request_that_is_wrong_is_answered_with_the_field(
    raw: RawClient, operation: str | None, body: bytes, field: str
) -> None:
    kind, error = await raw.request(operation, body)
    assert (kind, error["code"]) == ("error", "invalid")
    assert error["details"] == {"field": field}


@pytest.mark.parametrize(
    "reply_to", ["some-queue", "amq.rabbitmq.reply-to-not", "", "bq.requests", "amq.topic"]
)
async def test_a_request_with_an_address_that_is_not_allowed_is_parked(
    raw: RawClient, queue: JobQueue, reply_to: str
) -> None:
    await submit_to(raw, reply_to or None, b"no json" if not reply_to else b"{}")
    parked = await raw.parked()
    assert ("not an allowed address" if reply_to else "no JSON") in parked.headers["reason"]
    assert (await queue.info()).parked == 0


async def test_a_refused_request_without_an_address_is_parked_with_its_reason(
    raw: RawClient,
) -> None:
    body = json.dumps({"jobs": [{"id": new_job_id(), "dependencies": [9]}]}).encode()
    await submit_to(raw, None, body)
    parked = await raw.parked()
    assert (parked.body, parked.type) == (body, "submit")
    assert "position 9" in parked.headers["reason"]


@pytest.mark.parametrize(
    "token",
    [
        None,
        "nonsense",
        "...",
        "01a20955-d902-7370-996e-6a7540d187fb.1.1.AAAAAAAAAAAAAAAA",
        "ä" * 100,
        "x" * 255,
    ],
)
async def test_a_report_with_a_forged_token_is_parked_with_its_reason(
    raw: RawClient, token: str | None
) -> None:
    await raw.tell("finished", token, b"1")
    parked = await raw.parked()
    assert "unknown token" in parked.headers["reason"]
    assert (parked.body, parked.correlation_id) == (b"1", token)


async def test_a_token_with_one_part_changed_reports_on_nothing(
    raw: RawClient, queue: JobQueue
) -> None:
    job = await queue.enqueue("a")
    other = await queue.enqueue("a", delay=60)
    token = (await raw.take("a")).correlation_id or ""
    identity, handover, key, tag = token.split(".")
    for forged in (
        f"{other}.{handover}.{key}.{tag}",
        f"{identity}.{int(handover) + 1}.{key}.{tag}",
        f"{identity}.{handover}.{int(key) + 1}.{tag}",
        f"{identity}.{handover}.{key}.{tag[::-1]}",
        f"{identity}.{handover}.{key}.",
    ):
        await raw.tell("finished", forged, b"1")
        assert (await raw.parked()).correlation_id == forged
    assert (await queue.job_status(job)).state is State.QUEUED
    assert (await raw.report("finished", token, b"1")).type == "accepted"


@pytest.mark.parametrize(
    ("kind", "body", "problem"),
    [
        ("finished", b"{", "no JSON"),
        ("explode", b"{}", "no report of type"),
        ("failed", b"[]", "expected object"),
        ("failed", b'{"code": ""}', "code"),
        ("progress", b'{"fraction": 2}', "fraction"),
        ("finished_with_jobs", b'{"jobs": [{"id": "x"}]}', "jobs"),
        ("started", b"\xff", "UTF-8"),
    ],
)
async def test_a_report_that_is_wrong_fails_its_job_with_the_reason(
    raw: RawClient, queue: JobQueue, kind: str, body: bytes, problem: str
) -> None:
    job = await queue.enqueue("a", max_attempts=5)
    delivery = await raw.take("a")
    answer = await raw.report(kind, delivery.correlation_id, body)
    assert answer == ("accepted", {"state": "failed"})
    error = (await queue.job_status(job)).error
    assert error is not None
    assert error.code == "invalid_report"
    assert kind in error.message
    assert problem in error.message


async def test_a_report_without_a_type_is_a_result(raw: RawClient, queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    delivery = await raw.take("a")
    token = delivery.correlation_id
    await raw.publish("", delivery.reply_to or "", b'{"x":1}', correlation_id=token)
    assert (await queue.wait(job, timeout=PATIENCE)).result == {"x": 1}


@pytest.mark.parametrize(
    "headers",
    [
        {"started": "yesterday"},
        {"started": -1},
        {"started": True},
        {"started": 2**62},
        {"started": 1.5},
        {"started": datetime(9999, 1, 1, tzinfo=UTC)},
        {"x": "y" * 100_000},
        {f"header-{i}": i for i in range(1_000)},
        {"nested": {"a": [{"b": [None, True, bytearray(b"\xff")]}]}},
    ],
    ids=range(9),
)
async def test_odd_and_huge_headers_change_nothing(
    raw: RawClient, queue: JobQueue, headers: dict[str, Any]
) -> None:
    job = await queue.enqueue("a")
    delivery = await raw.take("a")
    answer = await raw.report("finished", delivery.correlation_id, b"1", headers)
    assert answer.type == "accepted"
    status = await queue.job_status(job)
    assert status.ready is not None
    assert status.started is not None
    assert status.finished is not None
    assert status.ready <= status.started <= status.finished


async def test_finish_twice_counts_the_first(raw: RawClient, queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    delivery = await raw.take("a")
    first = await raw.report("finished", delivery.correlation_id, b"1")
    again = await raw.report("finished", delivery.correlation_id, b"2")
    late = await raw.report("failed", delivery.correlation_id, b"{}")
    assert [first.type, again.type, late.type] == ["accepted", "stale", "stale"]
    assert again.body == {"state": "finished"}
    assert (await queue.job_status(job)).result == 1


async def test_a_report_after_a_cancel_is_answered_canceled(
    raw: RawClient, queue: JobQueue
) -> None:
    job = await queue.enqueue("a")
    delivery = await raw.take("a")
    assert (await raw.report("started", delivery.correlation_id, {})).type == "accepted"
    await queue.cancel_job(job)
    for kind in ("finished", "failed", "started", "progress", "released"):
        body = b"1" if kind == "finished" else b"{}"
        answer = await raw.report(kind, delivery.correlation_id, body)
        assert answer == ("canceled", {"state": "canceled"})


async def test_a_report_of_an_older_attempt_changes_nothing(
    raw: RawClient, queue: JobQueue
) -> None:
    job = await queue.enqueue("a", max_attempts=2)
    old = await raw.take("a")
    await raw.report("failed", old.correlation_id, {"delay": 0})
    await old.acknowledge()
    new = await raw.take("a")
    assert new.headers["attempt"] == 2
    for kind, body in (("finished", b"1"), ("started", b"{}"), ("progress", b"{}")):
        assert (await raw.report(kind, old.correlation_id, body)).type == "stale"
    assert (await queue.job_status(job)).state is State.QUEUED
    assert (await raw.report("finished", new.correlation_id, b"2")).type == "accepted"
    assert (await queue.job_status(job)).result == 2


async def test_a_batch_holds_reports_on_many_jobs(raw: RawClient, queue: JobQueue) -> None:
    jobs = [await queue.enqueue("a") for _ in range(3)]
    deliveries = [await raw.take("a") for _ in jobs]
    tokens = [delivery.correlation_id for delivery in deliveries]
    items = [
        {"token": tokens[0], "body": 1},
        {"token": tokens[1], "type": "failed", "body": {"message": "no"}},
        {"token": tokens[2], "type": "progress", "body": {"fraction": 7}},
        {"token": tokens[0], "body": 2},
    ]
    await raw.tell("batch", None, items)
    states = [(await queue.wait(job, timeout=PATIENCE)).state for job in jobs]
    assert states == [State.FINISHED, State.FAILED, State.FAILED]
    assert (await queue.job_status(jobs[0])).result == 1


@pytest.mark.parametrize("body", [{}, {"body": None}, {"body": {}}], ids=["none", "null", "{}"])
async def test_a_report_in_a_batch_needs_no_body(
    raw: RawClient, queue: JobQueue, body: dict[str, Any]
) -> None:
    kinds = ("started", "progress", "released", "failed")
    jobs = [await queue.enqueue("a", max_attempts=2, backoff=timedelta(hours=1)) for _ in kinds]
    tokens = [(await raw.take("a")).correlation_id for _ in kinds]
    last = await queue.enqueue("b")
    items = [
        {"token": token, "type": kind, **body} for token, kind in zip(tokens, kinds, strict=True)
    ]
    last_item = {"token": (await raw.take("b")).correlation_id}
    await raw.tell("batch", None, [*items, last_item | ({} if body.get("body") == {} else body)])
    assert (await queue.wait(last, timeout=PATIENCE)).raw_result == b"null"
    statuses = await queue.job_statuses(jobs)
    assert [status.state for status in statuses] == [
        State.RUNNING,
        State.QUEUED,
        State.QUEUED,
        State.SCHEDULED,
    ]
    assert statuses[1].progress is not None


@pytest.mark.parametrize("body", [b"{}", b"no json", b'[{"token": "forged"}]', b"[1]"])
async def test_a_batch_that_is_wrong_is_parked(raw: RawClient, body: bytes) -> None:
    await raw.tell("batch", None, body)
    parked = await raw.parked()
    assert parked.headers["reason"].startswith("batch: ")


async def test_what_is_right_in_a_batch_counts_and_what_is_not_is_parked(
    raw: RawClient, queue: JobQueue
) -> None:
    job = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    await raw.tell("batch", None, [{"token": "forged"}, {"token": token, "body": 1}])
    assert (await queue.wait(job, timeout=PATIENCE)).result == 1
    assert (await raw.parked()).headers["reason"] == "batch: 1 of 2 tokens are unknown"


async def test_a_worker_of_too_many_queues_is_refused(raw: RawClient) -> None:
    types = [f"t{number}" for number in range(1_000)]
    answer = await raw.request("hello", {"worker": "w", "types": types, "channels": ["a", "b"]})
    assert (answer.type, answer.body["code"]) == ("error", "invalid")
    assert "2000 queues" in answer.body["message"]


async def test_messages_of_strangers_on_the_dead_queue_are_parked(raw: RawClient) -> None:
    await raw.publish(raw.names.dead, "", b"?", headers={"x-first-death-reason": "{0}"})
    assert "dead letter" in (await raw.parked()).headers["reason"]


async def test_a_stranger_in_a_job_queue_does_not_stop_the_others(
    raw: RawClient, queue: JobQueue
) -> None:
    first = await queue.enqueue("a")
    assert await finish(raw, "a") == first
    await raw.publish("", raw.names.job_queue("a"), b"stranger")
    await queue.enqueue("a")
    stranger = await raw.take("a")
    assert stranger.correlation_id is None
    await stranger.reject()
    assert "dead letter" in (await raw.parked()).headers["reason"]
    await finish(raw, "a")


async def test_a_wait_for_any_of_some_jobs_ends_with_the_first(
    raw: RawClient, queue: JobQueue
) -> None:
    jobs = [await queue.enqueue(kind) for kind in ("a", "b")]
    wanted = {"jobs": jobs, "any": True, "timeout": 300}
    waiting = asyncio.create_task(raw.request("wait", wanted))
    await finish(raw, "b")
    assert await waiting == ("ok", {"ended": 1, "open": jobs[:1]})
    assert (await raw.request("wait", wanted)).body["ended"] == 1
    assert (await raw.request("wait", wanted | {"any": False, "timeout": 0})).body["ended"] == 1


async def test_a_thousand_wrong_messages_among_right_ones_stop_nothing(
    raw: RawClient, queue: JobQueue
) -> None:
    wrong = [raw.tell("finished", f"forged-{i}", b"?") for i in range(500)]
    wrong += [submit_to(raw, None, b"?") for _ in range(500)]
    jobs, *_ = await asyncio.gather(
        asyncio.gather(*(queue.enqueue("a", i) for i in range(100))), *wrong
    )
    for _ in jobs:
        await finish(raw, "a")
    statuses = await queue.job_statuses(jobs)
    assert {status.state for status in statuses} == {State.FINISHED}


@pytest.mark.parametrize(
    ("kind", "encoded"),
    [
        ("timestamp", (2**63).to_bytes(8, "big")),
        ("timestamp", (2**64 - 1).to_bytes(8, "big")),
        ("shortstr", b"\x02\xff\xfe"),
    ],
)
async def test_properties_that_no_library_can_read_do_not_cut_the_scheduler_off(
    raw: RawClient, queue: JobQueue, kind: str, encoded: bytes
) -> None:
    message = Outgoing(exchange="", routing_key=raw.names.reports, body=b"?", timestamp=1)
    message.correlation_id = None if kind == "timestamp" else "text"
    properties = message.properties()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(encode.METHODS, kind, lambda _value: encoded)
        marshaled = properties.marshal()
    odd = type("Odd", (type(properties),), {"marshal": lambda _self: marshaled})
    await raw.channel.underlying.basic_publish(
        b"?", routing_key=raw.names.reports, properties=odd(delivery_mode=2)
    )
    assert "token" in (await raw.parked()).headers["reason"]
    assert (await queue.info()).parked == 0


async def test_a_request_of_a_newer_protocol_is_not_guessed_at(
    raw: RawClient, queue: JobQueue
) -> None:
    names = raw.names
    body = json.dumps({"jobs": [{"id": new_job_id(), "type": "a"}]}).encode()
    for version in (2, 0, "1", None):
        await raw.publish(
            names.requests, "requests", body, type="submit", headers={"protocol": version}
        )
        parked = await raw.parked()
        assert "speaks version 1 of the protocol" in parked.headers["reason"]
    assert not (await queue.list()).jobs
    await raw.publish(names.requests, "requests", body, type="submit", headers={"protocol": 1})
    await raw.take("a")


async def test_a_report_of_a_newer_protocol_fails_its_job(raw: RawClient, queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    answer = await raw.report("finished", token, b"1", headers={"protocol": 2})
    assert (answer.type, answer.body["state"]) == ("accepted", "failed")
    error = (await queue.job_status(job)).error
    assert error is not None
    assert error.code == "invalid_report"
    assert "speaks version 1 of the protocol" in error.message


async def test_a_worker_that_stops_need_not_wait_for_an_answer(
    raw: RawClient, queue: JobQueue
) -> None:
    hello = {"worker": "w", "types": ["a"]}
    assert (await raw.request("hello", hello)).type == "ok"
    assert [worker.worker for worker in await queue.workers()] == ["w"]
    body = json.dumps(hello | {"stopping": True}).encode()
    await raw.publish(raw.names.requests, "requests", body, type="hello")

    async def is_gone() -> bool:
        return not await queue.workers()

    await until(is_gone)


async def test_a_batch_of_a_newer_protocol_is_parked(raw: RawClient, queue: JobQueue) -> None:
    job = await queue.enqueue("a")
    token = (await raw.take("a")).correlation_id
    body = json.dumps([{"token": token, "body": 1}]).encode()
    await raw.publish(raw.names.reports, "reports", body, type="batch", headers={"protocol": 2})
    assert "speaks version 1 of the protocol" in (await raw.parked()).headers["reason"]
    assert (await queue.job_status(job)).state is State.QUEUED
