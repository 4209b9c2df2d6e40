"""The examples in JavaScript."""

from __future__ import annotations

import pytest

from tests.languages import toolchains
from tests.languages.client_calls import the_client_does_all_it_can
from tests.languages.duties import LEVEL_3, Duty, Stage

WORKER = toolchains.node_worker
JOB_TYPE = "rehearsal.node"


@pytest.mark.parametrize("duty", LEVEL_3, ids=lambda duty: duty.__name__)
async def test_the_worker_keeps_the_protocol(duty: Duty, stage: Stage) -> None:
    await duty(stage)


async def test_words_are_counted(stage: Stage) -> None:
    text = "Don't panic, naïve reader: the towel, THE Towel; 数据 and the end."
    async with stage.worker():
        job = await stage.queue.enqueue("text.words", {"text": text})
        assert (await stage.ended(job)).result == {
            "words": 12,
            "top": [["the", 3], ["towel", 2], ["and", 1], ["don't", 1], ["end", 1]],
        }
        job = await stage.queue.enqueue("text.words", {"text": 1})
        error = (await stage.ended(job)).error
    assert error is not None
    assert error.code == "invalid_args"


async def test_the_client_submits_waits_looks_and_cancels(stage: Stage) -> None:
    await the_client_does_all_it_can(stage, toolchains.node_client(), "words")
