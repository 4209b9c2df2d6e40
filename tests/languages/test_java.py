"""The example in Java."""

from __future__ import annotations

import pytest

from tests.languages import toolchains
from tests.languages.duties import LEVEL_3, Duty, Stage
from tests.support.waiting import PATIENCE

WORKER = toolchains.java_worker
JOB_TYPE = "rehearsal.java"


@pytest.mark.parametrize("duty", LEVEL_3, ids=lambda duty: duty.__name__)
async def test_the_worker_keeps_the_protocol(duty: Duty, stage: Stage) -> None:
    await duty(stage)


async def test_letters(stage: Stage) -> None:
    args = {"text": "Zürich über Ürzig; 東京. 𠀀"}
    async with stage.worker():
        job = await stage.queue.enqueue("text.letters", args)
        assert await stage.queue.result(job, timeout=PATIENCE) == {"letters": 18, "most": "r"}
        job = await stage.queue.enqueue("text.letters", {})
        error = (await stage.ended(job)).error
    assert error is not None
    assert error.code == "invalid_args"
    assert error.message.endswith("text is missing")


async def test_it_says_where_it_takes_jobs_from_and_that_it_has_stopped(stage: Stage) -> None:
    async with stage.worker() as worker:
        await worker.says("takes jobs from")
        worker.terminate()
        assert await worker.ended() == 0
        await worker.says("stopped")
    first, last = worker.log.splitlines()
    assert first.startswith(f"takes jobs from {stage.namespace}.jobs.rehearsal.java, ")
    assert "guest:" not in first
    assert last == "stopped"
