"""The example in Ruby."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_queue.client import JobQueue
from tests.languages import toolchains
from tests.languages.duties import LEVEL_2, Duty, Stage
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE


@pytest.fixture(scope="session")
def worker() -> list[str]:
    return toolchains.ruby_worker()


@pytest.fixture
def stage(
    worker: list[str],
    queue: JobQueue,
    raw: RawClient,
    broker_url: str,
    namespace: str,
    database: Path,
) -> Stage:
    return Stage(
        command=worker,
        job_type="rehearsal.ruby",
        url=broker_url,
        namespace=namespace,
        database=database,
        queue=queue,
        raw=raw,
    )


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
