"""What a client says, and when, if nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from broker_queue import ConfigurationError, Invalid, JobQueue, ProtocolError, Unavailable
from broker_queue.graph import new_job_id
from broker_queue.protocol import messages
from broker_queue.protocol.codec import decode
from tests.support.fake_scheduler import FakeScheduler
from tests.support.proxy import Proxy
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, SHORT_TIMEOUT

JOB = new_job_id()

CALLS: list[Callable[[JobQueue], Awaitable[object]]] = [
    lambda queue: queue.info(),
    lambda queue: queue.enqueue("build"),
    lambda queue: queue.wait(JOB),
    lambda queue: anext(queue.watch(JOB)),
    lambda queue: queue.dequeue("build"),
]


@pytest.fixture
async def fake(broker_url: str, namespace: str) -> AsyncIterator[FakeScheduler]:
    """A scheduler that answers nothing by itself."""
    async with FakeScheduler(broker_url, namespace) as running:
        yield running


@pytest.mark.parametrize("call", CALLS)
async def test_a_namespace_without_scheduler_is_named_at_once(
    broker_url: str, namespace: str, call: Callable[[JobQueue], Awaitable[object]]
) -> None:
    async with (
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        asyncio.timeout(PATIENCE),
    ):
        with pytest.raises(Unavailable, match=f"no scheduler has ever run .* {namespace!r}"):
            await call(queue)


@pytest.mark.parametrize("call", CALLS)
async def test_a_scheduler_that_does_not_answer_is_reported_after_the_timeout(
    fake: FakeScheduler,
    broker_url: str,
    namespace: str,
    call: Callable[[JobQueue], Awaitable[object]],
) -> None:
    async with JobQueue(broker_url, namespace=namespace, timeout=SHORT_TIMEOUT) as queue:
        with pytest.raises(Unavailable, match=rf"no answer to '\w+' in {SHORT_TIMEOUT:g} s"):
            await call(queue)


async def test_a_broker_that_cannot_be_reached_is_named_without_its_password() -> None:
    queue = JobQueue("amqp://user:secret@127.0.0.1:1/")
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"no connection to RabbitMQ at amqp://user@127") as e:
            await queue.connect()
        assert "secret" not in str(e.value)


@pytest.mark.parametrize("call", CALLS)
async def test_a_client_must_be_connected(
    broker_url: str, call: Callable[[JobQueue], Awaitable[object]]
) -> None:
    queue = JobQueue(broker_url)
    with pytest.raises(Unavailable, match="not connected: use"):
        await call(queue)
    await queue.connect()
    await queue.close()
    with pytest.raises(Unavailable, match="not connected: use"):
        await call(queue)


async def test_a_client_can_connect_again(
    scheduler: RunningScheduler, broker_url: str, namespace: str
) -> None:
    queue = JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT)
    for _ in range(2):
        async with queue:
            assert await queue.workers() == []


@pytest.mark.parametrize(
    ("url", "namespace"), [("localhost:5672", "bq"), ("amqp://localhost/", "no spaces")]
)
def test_settings_that_cannot_work_are_refused_before_anything_happens(
    url: str, namespace: str
) -> None:
    with pytest.raises(ConfigurationError):
        JobQueue(url, namespace=namespace)


def test_the_environment_gives_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_QUEUE_URL", "nonsense")
    with pytest.raises(ConfigurationError, match="nonsense"):
        JobQueue()
    monkeypatch.setenv("BROKER_QUEUE_URL", "amqp://localhost/")
    monkeypatch.setenv("BROKER_QUEUE_NAMESPACE", "no spaces")
    with pytest.raises(ConfigurationError, match="no spaces"):
        JobQueue()


async def test_what_was_enqueued_while_no_scheduler_ran_is_done_later(
    broker_url: str, namespace: str, database: Path
) -> None:
    async with RunningScheduler(url=broker_url, namespace=namespace, database=database):
        pass
    async with JobQueue(broker_url, namespace=namespace, timeout=SHORT_TIMEOUT) as impatient:
        with pytest.raises(Unavailable, match="is one running"):
            await impatient.enqueue("build", id=JOB)

    running = RunningScheduler(url=broker_url, namespace=namespace, database=database)
    async with running, JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        await queue.enqueue("build", id=JOB)  # repeating it changes nothing
        assert (await queue.dequeue("build", timeout=PATIENCE)).id == JOB
        assert len((await queue.list()).jobs) == 1


async def test_an_enqueue_without_an_answer_can_be_repeated_with_the_id_it_names(
    fake: FakeScheduler, broker_url: str, namespace: str
) -> None:
    async with JobQueue(broker_url, namespace=namespace, timeout=SHORT_TIMEOUT) as queue:
        with pytest.raises(Unavailable, match="whether the job was stored is unknown") as error:
            await queue.enqueue("build", 1)
        first = decode((await fake.requests.get()).body, messages.Submit)
        identity = error.value.details["job"]
        assert f'id="{identity}"' in str(error.value)

        repeated = asyncio.create_task(queue.enqueue("build", 1, id=identity))
        question = await fake.requests.get()
        await fake.answer(question, "ok", messages.Submitted(jobs=1, existed=1))
        assert await repeated == identity
    assert decode(question.body, messages.Submit).jobs == first.jobs


async def test_what_reached_nobody_is_not_called_unknown(broker_url: str, namespace: str) -> None:
    async with JobQueue(broker_url, namespace=namespace) as queue:
        with pytest.raises(Unavailable) as error:
            await queue.enqueue("build")
    assert error.value.details["sent"] is False
    assert "unknown" not in str(error.value)


async def test_a_question_whose_answer_was_lost_is_asked_again(
    fake: FakeScheduler, broker_url: str, namespace: str
) -> None:
    async with (
        Proxy(broker_url) as proxy,
        JobQueue(proxy.url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        enqueuing = asyncio.create_task(queue.enqueue("build", id=JOB))
        first = await fake.requests.get()
        proxy.cut()
        second = await fake.requests.get()
        await fake.answer(second, "ok", messages.Submitted(jobs=1, existed=1))

        assert await enqueuing == JOB
    assert (second.type, second.body) == (first.type, first.body) == ("submit", first.body)
    assert second.reply_to != first.reply_to


@pytest.mark.parametrize(
    ("kind", "body"),
    [("ok", messages.Error(code="x", message="y")), ("perhaps", messages.Submitted(jobs=1))],
)
async def test_an_answer_that_does_not_keep_the_protocol_is_called_that(
    fake: FakeScheduler, broker_url: str, namespace: str, kind: str, body: messages.Message
) -> None:
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        enqueuing = asyncio.create_task(queue.enqueue("build"))
        await fake.answer(await fake.requests.get(), kind, body)

        with pytest.raises(ProtocolError):
            await enqueuing


async def test_an_error_code_of_a_newer_scheduler_is_an_error_all_the_same(
    fake: FakeScheduler, broker_url: str, namespace: str
) -> None:
    async with JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue:
        asking = asyncio.create_task(queue.info())
        error = messages.Error(code="quota", message="no more today")
        await fake.answer(await fake.requests.get(), "error", error)

        with pytest.raises(Invalid, match="no more today"):
            await asking
