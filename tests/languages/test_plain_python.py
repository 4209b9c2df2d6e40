"""The example in Python that uses pika and nothing of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from broker_queue.job import State
from tests.languages import toolchains
from tests.languages.duties import LEVEL_2, Duty, Stage
from tests.support.waiting import PATIENCE

FACTS = {
    "title": "Fox",
    "fingerprint": {"sha256": "abc", "bytes": 45, "characters": 44},
    "words": {"words": 9, "top": [["the", 2], ["brown", 1]]},
    "lines": {"lines": 1, "longest": 44},
    "sentences": {"sentences": 1, "longest": "The quick brown fox."},
}

REPORT = """\
# Fox

- 44 characters in 45 bytes
- 1 lines, the longest of 44 characters
- 9 words, most often: the (2), brown (1)
- 1 sentences, the longest:

> The quick brown fox.

SHA-256: `abc`
"""

ODD_HANDLERS = """
import sys

sys.path.insert(0, sys.argv[1])
import worker


def leave(job):
    raise SystemExit("enough")


def mistake(job):
    def acknowledge_what_is_not_there():
        for channel in serving.consumed:
            channel.basic_ack(4711)

    serving.connection.add_callback_threadsafe(acknowledge_what_is_not_there)
    job.canceled.wait()


worker.HANDLERS |= {"failure.exit": leave, "failure.channel": mistake}
worker.logging.basicConfig()
serving = worker.Worker(2)
serving.run()
"""

WORKER = toolchains.plain_python_worker
JOB_TYPE = "rehearsal.python"


@pytest.mark.parametrize("duty", LEVEL_2, ids=lambda duty: duty.__name__)
async def test_the_worker_keeps_the_protocol(duty: Duty, stage: Stage) -> None:
    await duty(stage)


async def test_a_report(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.queue.enqueue("text.report", FACTS)
        assert await stage.queue.result(job, timeout=PATIENCE) == {"report": REPORT}
        job = await stage.queue.enqueue("text.report", {})
        error = (await stage.ended(job)).error
    assert error is not None
    assert error.code == "invalid_args"


async def test_it_reads_only_below_its_folder(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "inside.txt").write_text("größer")
    (tmp_path / "outside.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    monkeypatch.chdir(folder)
    async with stage.worker():
        job = await stage.queue.enqueue("text.read", {"path": "inside.txt"})
        assert await stage.queue.result(job, timeout=PATIENCE) == "größer"
        for path in (
            "../outside.txt",
            str(tmp_path / "outside.txt"),
            "link.txt",
            "/etc/hostname",
            1,
        ):
            error = (
                await stage.ended(await stage.queue.enqueue("text.read", {"path": path}))
            ).error
            assert error is not None
            assert error.code == "invalid_args"


@pytest.fixture
def odd(stage: Stage) -> Stage:
    """The stage with a worker whose handlers do what none should."""
    python, *_, program = stage.command
    return replace(stage, command=[python, "-B", "-c", ODD_HANDLERS, str(Path(program).parent)])


async def test_a_handler_that_wants_to_end_the_program_has_failed(odd: Stage) -> None:
    async with odd.worker():
        for _ in range(3):  # more than it has slots
            error = (await odd.ended(await odd.queue.enqueue("failure.exit"))).error
            assert error is not None
            assert (error.code, error.message) == ("SystemExit", "enough")
        await odd.works()


async def test_a_channel_that_the_broker_closes_is_as_a_lost_connection(odd: Stage) -> None:
    async with odd.worker() as worker:
        job = await odd.queue.enqueue("failure.channel")
        await odd.runs(job)
        await worker.says("the broker has closed a channel")
        await odd.works()
        assert (await odd.queue.job_status(job)).state is State.RUNNING
        await odd.queue.cancel_job(job)
