"""Requests without a type: whatever can publish a message can enqueue a job, or a graph of them."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4, uuid5

import pytest

from broker_queue.client import JobQueue
from broker_queue.graph import new_job_id
from broker_queue.job import JobId, State
from broker_queue.protocol.bare import BareSubmit
from broker_queue.protocol.messages import NewJob
from broker_queue.protocol.operations import REQUESTS
from tests.support.ends import finish
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE


async def all_jobs(queue: JobQueue) -> list[JobId]:
    return [status.id for status in (await queue.list()).jobs]


async def tell(raw: RawClient, body: Any, message_id: str | None = None) -> None:
    """Send a bare request that asks for no answer, as a management page does."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    await raw.publish("", raw.names.requests, text, message_id=message_id, content_type="")


@pytest.mark.parametrize("kind", [None, ""], ids=["none", "empty"])
async def test_a_job_is_enqueued_and_its_answer_names_it(
    raw: RawClient, queue: JobQueue, kind: str | None
) -> None:
    answer = await raw.request(kind, {"type": "resize", "args": {"width": 100}, "priority": 9})
    assert answer.type == "ok"
    (job,) = answer.body["ids"]
    assert answer.body == {"jobs": 1, "ids": [job]}
    delivery = await raw.take("resize")
    assert (delivery.message_id, json.loads(delivery.body)) == (job, {"width": 100})
    assert (await queue.job_status(job)).priority == 9


async def test_a_job_is_enqueued_without_an_answer(raw: RawClient, queue: JobQueue) -> None:
    await tell(raw, {"type": "resize"})
    job = await finish(raw, "resize", b"1")
    assert await queue.result(job, timeout=PATIENCE) == 1
    assert (await queue.info()).parked == 0


async def test_a_job_waits_for_its_dependencies(raw: RawClient, queue: JobQueue) -> None:
    first = await queue.enqueue("fetch")
    body = {
        "type": "resize",
        "args": {"image": None},
        "references": [{"at": "/image", "job": first, "pointer": "/key"}],
    }
    await tell(raw, body)
    await finish(raw, "fetch", b'{"key": "k"}')
    assert json.loads((await raw.take("resize")).body) == {"image": "k"}


async def test_an_id_that_is_given_is_used_and_counts_once(raw: RawClient, queue: JobQueue) -> None:
    job = new_job_id()
    body = {"id": job, "type": "resize"}
    first = await raw.request(None, body)
    again = await raw.request(None, body, message_id=str(uuid4()))
    assert first.body == {"jobs": 1, "ids": [job]}
    assert again.body == {"jobs": 1, "existed": 1, "ids": [job]}
    other = await raw.request(None, body | {"type": "other"})
    assert (other.type, other.body["code"]) == ("error", "conflict")
    assert other.body["details"]["field"] == "id"
    typed = await raw.request("submit", {"jobs": [body]})
    assert typed.body == {"jobs": 1, "existed": 1}


async def test_an_id_in_any_form_is_answered_in_the_usual_one(
    raw: RawClient, queue: JobQueue
) -> None:
    job = "01a20955-d902-7370-996e-6a7540d187fb"
    body = {"id": job.replace("-", "").upper(), "type": "resize"}
    assert (await raw.request(None, body)).body["ids"] == [job]


@pytest.mark.parametrize("form", [str, str.upper, lambda text: text.replace("-", "")])
async def test_a_message_id_that_is_a_uuid_is_the_id_of_the_job(
    raw: RawClient, queue: JobQueue, form: Any
) -> None:
    message_id = str(uuid4())
    for existed in ({}, {"existed": 1}):
        answer = await raw.request(None, {"type": "resize", "id": None}, form(message_id))
        assert answer.body == {"jobs": 1, "ids": [message_id], **existed}
    assert await all_jobs(queue) == [message_id]


@pytest.mark.parametrize("message_id", ["", "order-17", "x" * 255])
async def test_any_other_message_id_names_nothing(
    raw: RawClient, queue: JobQueue, message_id: str
) -> None:
    ids = []
    for _ in range(2):
        ids += (await raw.request(None, {"type": "resize"}, message_id)).body["ids"]
    assert sorted(await all_jobs(queue)) == sorted(set(ids))
    assert len(ids) == 2


async def test_several_jobs_are_enqueued_as_by_a_submit(raw: RawClient, queue: JobQueue) -> None:
    named, message_id = new_job_id(), uuid4()
    body = {
        "graph": {"name": "mine"},
        "jobs": [
            {"type": "fetch"},
            {"id": named, "type": "resize", "dependencies": [0]},
            {"dependencies": [1], "name": "done"},
        ],
    }
    for existed in ({}, {"existed": 3}):
        answer = await raw.request(None, body, str(message_id))
        graph, ids = str(uuid5(message_id, "graph")), answer.body["ids"]
        assert answer.body == {"jobs": 3, "graph": graph, "ids": ids, **existed}
        assert ids == [str(uuid5(message_id, "0")), named, str(uuid5(message_id, "2"))]
    assert (await queue.graph(graph)).name == "mine"
    await finish(raw, "fetch")
    await finish(raw, "resize")
    assert (await queue.wait(ids[2], timeout=PATIENCE)).state is State.FINISHED


async def test_dependencies_are_added_by_a_bare_submit(raw: RawClient, queue: JobQueue) -> None:
    later = await queue.enqueue("later", delay=60)
    answer = await raw.request(
        None, {"jobs": [{"type": "first"}], "extend": [{"job": later, "dependencies": [0]}]}
    )
    assert answer.type == "ok"
    assert (await queue.job_status(later)).dependency_count == 1


async def test_a_graph_without_jobs_exists(raw: RawClient, queue: JobQueue) -> None:
    answer = await raw.request(None, {"graph": {"id": new_job_id(), "name": "empty"}})
    assert (await queue.graph(answer.body["graph"])).name == "empty"


WRONG = {
    b"": "type",
    b"{}": "type",
    b'{"args": 1}': "type",
    b'{"type": null}': "type",
    b'{"type": "no spaces"}': "type",
    b'{"type": 1}': "type",
    b'{"id": "x", "type": "a"}': "id",
    b'{"width": 100}': "",
    b'{"type": "a", "dependences": []}': "",
    b'{"type": "a", "priority": 10}': "priority",
    b'{"job": "01a20955-d902-7370-996e-6a7540d187fb"}': "",
    b'[{"type": "a"}]': "",
    b'{"jobs": {}}': "jobs",
    b'{"jobs": [1]}': "jobs[0]",
    b'{"jobs": [], "part": 2, "parts": 2}': "",
    b'{"jobs": [], "type": "a"}': "",
    b"a": "",
    b"null": "",
    b"\xff": "",
    b"[" * 100_000: "",
}


@pytest.mark.parametrize(("body", "field"), WRONG.items(), ids=lambda part: str(part)[:40])
async def test_a_bare_request_that_is_wrong_shows_the_shape(
    raw: RawClient, queue: JobQueue, body: bytes, field: str
) -> None:
    kind, error = await raw.request(None, body)
    assert (kind, error["code"]) == ("error", "invalid")
    assert error["details"] == {"field": field}
    shown = error["message"]
    assert 'is a job, {"type": "resize", "args": {"width": 100}}, or several, {"jobs": [' in shown
    assert "names its operation in the property type: submit, status" in shown
    await tell(raw, body)
    parked = await raw.parked()
    assert (parked.headers["reason"], parked.body) == (shown, body)
    assert await all_jobs(queue) == []


UNKNOWN = "01a20955-d902-7370-996e-6a7540d187fb"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"type": "a", "dependencies": [UNKNOWN]}, "not_exist", "dependencies"),
        ({"type": "a", "dependencies": [0]}, "cycle", None),
        ({"type": "a", "dependencies": [1]}, "invalid", "dependencies[0]"),
        ({"type": "a", "args": "x" * (1 << 20)}, "too_large", "args"),
        ({"type": "a", "delay": 1, "available_at": 1}, "invalid", "delay"),
        ({"jobs": [{"type": "a"}, {"type": "a", "delay": 1, "available_at": 1}]}, "invalid",
         "jobs[1].delay"),
        ({"jobs": [{"id": UNKNOWN}, {"id": UNKNOWN}]}, "invalid", "jobs[1].id"),
        ({"jobs": [{"type": "a"}, {"dependencies": [UNKNOWN]}]}, "not_exist",
         "jobs[1].dependencies"),
    ],
)  # fmt: skip
async def test_a_bare_request_is_checked_as_a_submit_and_stored_whole_or_not_at_all(
    raw: RawClient, queue: JobQueue, body: Any, code: str, field: str | None
) -> None:
    message_id = str(uuid4())
    kind, error = await raw.request(None, body, message_id)
    assert (kind, error["code"]) == ("error", code)
    if field is not None:
        assert error["details"]["field"] == field
        assert error["message"].startswith(field)
    await tell(raw, body, message_id)
    assert (await raw.parked()).headers["reason"] == error["message"]
    assert await all_jobs(queue) == []


async def test_a_bare_request_with_an_address_that_is_not_allowed_is_parked(
    raw: RawClient, queue: JobQueue
) -> None:
    await raw.publish("", raw.names.requests, b'{"type": "a"}', reply_to="my-answers")
    assert "not an allowed address" in (await raw.parked()).headers["reason"]
    assert await all_jobs(queue) == []


def test_what_tells_several_jobs_from_one_is_no_field_of_a_job() -> None:
    assert not set(BareSubmit.__struct_fields__) & set(NewJob.__struct_fields__)
    assert "" not in REQUESTS
