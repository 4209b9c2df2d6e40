"""The examples in Go."""

from __future__ import annotations

import hashlib

import pytest

from tests.languages import toolchains
from tests.languages.client_calls import the_client_does_all_it_can
from tests.languages.duties import LEVEL_3, Duty, Stage

WORKER = toolchains.go_worker
JOB_TYPE = "rehearsal.go"


@pytest.mark.parametrize("duty", LEVEL_3, ids=lambda duty: duty.__name__)
async def test_the_worker_keeps_the_protocol(duty: Duty, stage: Stage) -> None:
    await duty(stage)


async def test_a_fingerprint(stage: Stage) -> None:
    text = "Zürich"
    async with stage.worker():
        job = await stage.queue.enqueue("text.fingerprint", {"text": text})
        assert (await stage.ended(job)).result == {
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "bytes": 7,
            "characters": 6,
        }
        job = await stage.queue.enqueue("text.fingerprint", {"words": text})
        error = (await stage.ended(job)).error
    assert error is not None
    assert error.code == "invalid_args"


async def test_it_takes_no_jobs_before_it_is_connected(stage: Stage) -> None:
    async with stage.worker("amqp://localhost:1") as worker:
        await worker.says("no connection")
    assert "taking jobs" not in worker.log


async def test_the_client_submits_waits_looks_and_cancels(stage: Stage) -> None:
    await the_client_does_all_it_can(stage, toolchains.go_client(), "fingerprint")
