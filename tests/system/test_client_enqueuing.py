"""Enqueue and submit: one by one, many at once, in parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker_queue import (
    Conflict,
    Graph,
    Invalid,
    JobQueue,
    NotExist,
    RawJson,
    State,
    TooLarge,
    Unavailable,
    parts,
)
from broker_queue.amqp.channel import Delivery
from broker_queue.graph import new_job_id
from broker_queue.parts import in_parts
from broker_queue.protocol import messages
from broker_queue.protocol.codec import decode
from tests.support.fake_scheduler import FakeScheduler
from tests.support.waiting import ANSWER_TIMEOUT, SHORT_TIMEOUT


@pytest.fixture
async def fake(broker_url: str, namespace: str) -> AsyncIterator[FakeScheduler]:
    """A scheduler that answers nothing by itself."""
    async with FakeScheduler(broker_url, namespace) as running:
        yield running


async def answer_submit(fake: FakeScheduler, request: Delivery | None = None) -> messages.Submit:
    """Answer a request, or the next one, and return what it submits."""
    request = request or await fake.requests.get()
    submit = decode(request.body, messages.Submit)
    await fake.answer(request, "ok", messages.Submitted(jobs=len(submit.jobs)))
    return submit


async def test_enqueues_at_the_same_time_share_a_request(
    fake: FakeScheduler, broker_url: str, namespace: str
) -> None:
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        enqueuing = [asyncio.create_task(queue.enqueue("a", number)) for number in range(1_000)]
        held = [await fake.requests.get() for _ in range(2)]  # the others gather meanwhile
        sizes = [len((await answer_submit(fake, request)).jobs) for request in held]
        while sum(sizes) < 1_000:
            sizes.append(len((await answer_submit(fake)).jobs))
        ids = await asyncio.gather(*enqueuing)

    assert len(set(ids)) == 1_000
    assert len(sizes) <= 4


async def test_an_enqueue_alone_does_not_wait_for_company(
    fake: FakeScheduler, broker_url: str, namespace: str
) -> None:
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        for number in range(3):
            enqueuing = asyncio.create_task(queue.enqueue("a", number))
            submit = await answer_submit(fake)
            assert [job.id for job in submit.jobs] == [await enqueuing]


async def test_more_requests_are_on_their_way_while_answers_take_long(
    fake: FakeScheduler, broker_url: str, namespace: str
) -> None:
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        enqueuing, requests = [], []
        for number in range(5):
            enqueuing.append(asyncio.create_task(queue.enqueue("a", number)))
            requests.append(await fake.requests.get())
        submits = [await answer_submit(fake, request) for request in requests]
        ids = await asyncio.gather(*enqueuing)

    assert [job.id for submit in submits for job in submit.jobs] == ids


async def test_long_args_do_not_make_a_request_too_long(
    fake: FakeScheduler, broker_url: str, namespace: str
) -> None:
    text = "x" * (1 << 20)
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        enqueuing = [asyncio.create_task(queue.enqueue("a", text)) for _ in range(10)]
        sizes: list[int] = []
        while sum(sizes) < 10:
            sizes.append(len((await answer_submit(fake)).jobs))
        await asyncio.gather(*enqueuing)

    assert max(sizes) <= 4


async def test_only_the_wrong_one_of_many_enqueues_is_refused(queue: JobQueue) -> None:
    good, unknown = await queue.enqueue("a"), new_job_id()
    found = await asyncio.gather(
        *(queue.enqueue("b", number, [unknown if number == 5 else good]) for number in range(20)),
        return_exceptions=True,
    )

    refused = [number for number, item in enumerate(found) if isinstance(item, BaseException)]
    assert refused == [5]
    assert isinstance(found[5], NotExist)
    assert len((await queue.list(type="b", limit=100)).jobs) == 19


async def test_a_lost_answer_is_told_to_all_that_shared_the_request(
    fake: FakeScheduler, broker_url: str, namespace: str
) -> None:
    async with JobQueue(broker_url, namespace=namespace, timeout=SHORT_TIMEOUT) as queue:
        found = await asyncio.gather(
            *(queue.enqueue("a") for _ in range(3)), return_exceptions=True
        )
    assert [type(item) for item in found] == [Unavailable] * 3
    assert len({id(item) for item in found}) == 3


async def test_the_same_job_enqueued_twice_is_one_job(queue: JobQueue) -> None:
    job = new_job_id()
    assert await queue.enqueue("a", [1], id=job) == job
    assert await queue.enqueue("a", [1], id=job) == job
    with pytest.raises(Conflict):
        await queue.enqueue("a", [2], id=job)


async def test_whatever_has_an_id_can_be_depended_on(queue: JobQueue) -> None:
    first = await queue.enqueue(None)
    status = await queue.job_status(first.upper())
    graph = Graph()
    handle = graph.add("a", dependencies=[status])
    await queue.submit(graph)

    last = await queue.enqueue("b", dependencies=[status, handle.failed, first.upper()])

    assert [item.job for item in (await queue.job_status(last)).dependencies] == [first, handle.id]


async def test_args_that_are_no_json_are_refused_here(queue: JobQueue) -> None:
    with pytest.raises(Invalid, match="args does not serialise"):
        await queue.enqueue("a", object())
    with pytest.raises(Invalid, match="is no job id"):
        await queue.enqueue("a", dependencies=["nonsense"])


async def test_a_graph_larger_than_a_message_exists_all_at_once(queue: JobQueue) -> None:
    graph = Graph("large")
    text = RawJson(b'"' + b"x" * 1_000_000 + b'"')
    first = graph.add("a", text)
    for _ in range(9):
        graph.add("a", text, dependencies=[first])
    graph.milestone([job.id for job in graph.jobs])

    submitted = await queue.submit(graph)
    again = await queue.submit(graph)

    assert (submitted.jobs, submitted.existed, submitted.complete) == (11, 0, True)
    assert (again.jobs, again.existed, again.complete) == (11, 11, True)
    statuses = await queue.job_statuses(graph.jobs, args=True)
    assert [status.id for status in statuses] == [job.id for job in graph.jobs]
    assert {status.raw_args for status in statuses[:10]} == {text}
    assert statuses[-1].dependency_count == 10


async def test_parts_that_were_forgotten_are_sent_again(
    fake: FakeScheduler, broker_url: str, namespace: str
) -> None:
    graph = Graph()
    for _ in range(6):
        graph.add("a", "x" * 1_000_000)
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        submitting = asyncio.create_task(queue.submit(graph))
        seen = []
        for complete in (False, False, False, True):
            request = await fake.requests.get()
            part = decode(request.body, messages.Submit)
            seen.append((part.part, part.parts))
            answer = messages.Submitted(jobs=6, complete=complete)
            await fake.answer(request, "ok", answer)

        assert (await submitting).complete
    assert seen == [(1, 2), (2, 2), (1, 2), (2, 2)]


class TestParts:
    """How a submit is cut up, without a broker."""

    def test_a_small_submit_stays_whole(self) -> None:
        submit = messages.Submit(jobs=[messages.NewJob(id=new_job_id())])
        assert in_parts(submit) == [submit]

    def test_parts_keep_the_order_and_have_the_extensions_last(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parts, "PART_BYTES", 200)
        graph = Graph("g")
        for _ in range(7):
            graph.add("a", dependencies=graph.jobs[-1:])
        graph.extend(new_job_id(), graph.jobs)
        whole = graph.to_message()

        found = in_parts(whole)

        assert [job for part in found for job in part.jobs] == whole.jobs
        assert [item for part in found for item in part.extend] == whole.extend
        assert found[-1].extend == whole.extend
        assert [part.part for part in found] == list(range(1, len(found) + 1))
        assert {part.parts for part in found} == {len(found)}
        assert {part.graph.id for part in found if part.graph} == {graph.id}
        assert len(found) > 2

    def test_a_job_that_fits_no_message_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parts, "PART_BYTES", 200)
        monkeypatch.setattr(parts, "MAX_BYTES", 300)
        graph = Graph()
        graph.add("a")
        graph.add("a", "x" * 400)
        with pytest.raises(TooLarge, match=r"jobs\[1\] has \d+ bytes"):
            in_parts(graph.to_message())


async def test_dependencies_can_be_added_until_a_job_is_handed_out(queue: JobQueue) -> None:
    gate = await queue.enqueue("gate")
    job = await queue.enqueue("a", {"x": None}, dependencies=[gate])
    extra = await queue.enqueue("b")

    await queue.add_dependencies(job, [extra])

    status = await queue.job_status(job)
    assert [item.job for item in status.dependencies] == [gate, extra]
    with pytest.raises(Conflict):
        await queue.add_dependencies(await queue.dequeue("b"), [gate])
    assert (await queue.job_status(extra)).state is State.RUNNING
