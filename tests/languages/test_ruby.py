"""The example in Ruby."""

from __future__ import annotations

import asyncio
import json

import pytest

from broker_queue.amqp.wiretap import Delivered, Event, Published
from broker_queue.conformance.proxy import Proxy
from tests.languages import toolchains
from tests.languages.duties import FOREVER, LEVEL_2, Duty, Stage
from tests.support.waiting import PATIENCE, until

WORKER = toolchains.ruby_worker
JOB_TYPE = "rehearsal.ruby"


@pytest.mark.parametrize("duty", LEVEL_2, ids=lambda duty: duty.__name__)
async def test_the_worker_keeps_the_protocol(duty: Duty, stage: Stage) -> None:
    await duty(stage)


async def test_sentences(stage: Stage) -> None:
    args = {"text": "Ein Satz. Noch einer?! 東京は大きい。はい。"}
    async with stage.worker():
        job = await stage.queue.enqueue("text.sentences", args)
        assert await stage.queue.result(job, timeout=PATIENCE) == {
            "sentences": 4,
            "longest": "Noch einer?!",
        }
        job = await stage.queue.enqueue("text.sentences", {})
        error = (await stage.ended(job)).error
    assert error is not None
    assert error.code == "invalid_args"


async def test_a_cancel_right_behind_its_job_frees_the_slot(stage: Stage) -> None:
    names = stage.raw.names
    body = json.dumps({"seconds": FOREVER}).encode()
    canceling: list[asyncio.Task[None]] = []
    tokens = {f"token-{number}" for number in range(50)}
    released = set[str | None]()

    def on_event(_: int, event: Event) -> bool:
        match event:
            case Delivered(properties=properties) if properties.correlation_id in tokens:
                cancel = json.dumps({"tokens": [properties.correlation_id]}).encode()
                telling = stage.raw.publish(names.control, stage.job_type, cancel, type="cancel")
                canceling.append(asyncio.create_task(telling))
            case Published(properties=properties) if properties.type == "released":
                released.add(properties.correlation_id)
        return True

    async def are_all_released() -> bool:
        return released == tokens

    async with (
        Proxy(stage.url, on_event) as proxy,
        stage.worker(proxy.url, concurrency=len(tokens)),
    ):
        await stage.works()
        for token in tokens:
            await stage.raw.publish(
                names.jobs,
                stage.job_type,
                body,
                type=stage.job_type,
                correlation_id=token,
                headers={"protocol": 1, "attempt": 1, "max_attempts": 1, "dependency_count": 0},
            )
        await until(are_all_released)
        await asyncio.gather(*canceling)
