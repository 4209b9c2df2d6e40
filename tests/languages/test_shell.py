"""The example in bash."""

from __future__ import annotations

import pytest

from broker_queue.amqp.wiretap import Consumed, Delivered, Event, Refused, Settled, Wiretap
from broker_queue.conformance.proxy import Proxy as Listening
from tests.languages import toolchains
from tests.languages.duties import FOREVER, LEVEL_2, Duty, Stage
from tests.support.proxy import Proxy, Tap
from tests.support.waiting import PATIENCE, until

WORKER = toolchains.shell_worker
JOB_TYPE = "rehearsal.shell"

BASIC_CANCEL = bytes([0, 60, 0, 30])  # class and method


@pytest.mark.parametrize("duty", LEVEL_2, ids=lambda duty: duty.__name__)
async def test_the_worker_keeps_the_protocol(duty: Duty, stage: Stage) -> None:
    await duty(stage)


async def test_lines(stage: Stage) -> None:
    args = {"text": "one\n\n東京だ!\n"}
    async with stage.worker():
        job = await stage.queue.enqueue("text.lines", args)
        assert await stage.queue.result(job, timeout=PATIENCE) == {"lines": 3, "longest": 4}
        job = await stage.queue.enqueue("text.lines", {})
        error = (await stage.ended(job)).error
    assert error is not None
    assert error.code == "invalid_args"


async def test_a_consumer_that_begins_at_sigterm_is_canceled(stage: Stage) -> None:
    queue = stage.raw.names.job_queue(stage.job_type)
    begun = canceled = False
    connections = 0

    def taps() -> tuple[Tap, Tap]:
        nonlocal connections
        connections += 1
        wire, number = Wiretap(), connections

        def sent(data: bytes) -> None:
            nonlocal begun, canceled
            canceled |= BASIC_CANCEL in data
            for event in wire.sent(data):
                if number == 2 and isinstance(event, Consumed) and event.queue == queue:
                    proxy.freeze()  # before the broker's answer comes
                    begun = True

        return sent, lambda _: None

    async def has_begun() -> bool:
        return begun

    async def is_canceled() -> bool:
        return canceled

    async with Proxy(stage.url, taps) as proxy, stage.worker(proxy.url) as worker:
        job = await stage.enqueue({"seconds": FOREVER})
        await stage.runs(job)
        proxy.cut()
        await until(has_begun)
        worker.terminate()
        await worker.says("stopping")
        assert not canceled
        proxy.thaw()
        await until(is_canceled)
        await stage.queue.cancel_job(job)
        assert await worker.ended() == 0


async def test_a_deleted_queue_mixes_no_messages_up(stage: Stage) -> None:
    queue = stage.raw.names.job_queue(stage.job_type)
    settled: list[str | None] = []
    tokens: list[str | None] = []
    refused = False

    def on_event(_: int, event: Event) -> bool:
        nonlocal refused
        match event:
            case Delivered(properties=properties) if properties.type == stage.job_type:
                tokens.append(properties.correlation_id)
            case Settled(message=message):
                settled.append(message.properties.correlation_id)
            case Refused(code=404, text=text):
                refused |= f"'{queue}'" in text
        return True

    async def is_refused() -> bool:
        return refused

    async with Listening(stage.url, on_event) as proxy, stage.worker(proxy.url, concurrency=2):
        first = await stage.enqueue({"seconds": FOREVER})
        await stage.runs(first)
        refused = False  # before the first job there was no queue either
        await stage.raw.channel.underlying.queue_delete(queue)
        await until(is_refused)
        second = await stage.enqueue({"seconds": FOREVER})
        await stage.runs(second)
        still_held = tokens[-1]
        await stage.queue.cancel_job(first)
        await stage.works()
        assert still_held not in settled
