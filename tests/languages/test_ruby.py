"""The example in Ruby."""

from __future__ import annotations

import pytest

from tests.languages import toolchains
from tests.languages.duties import LEVEL_2, Duty, Stage
from tests.support.waiting import PATIENCE

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
