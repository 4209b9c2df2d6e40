"""The example in bash."""

from __future__ import annotations

import pytest

from tests.languages import toolchains
from tests.languages.duties import LEVEL_2, Duty, Stage
from tests.support.waiting import PATIENCE

WORKER = toolchains.shell_worker
JOB_TYPE = "rehearsal.shell"


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
