"""The demo as people run it: a process that shows its work, writes a report and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aio_pika
import pytest

from broker_queue.cli.graph_file import read_graph
from broker_queue.client import JobQueue
from broker_queue.job import State
from broker_queue.protocol.names import Names
from examples.quickstart import worker as quickstart
from examples.standard_library import jobs
from examples.standard_library.analysis import find_packages, library_folder
from tests.support.demos import (
    PROJECT,
    assert_it_is_interrupted,
    assert_nothing_is_left,
    demo,
    finish,
    read_until,
)
from tests.support.workers import running


def library_demo(
    url: str, folder: Path, **environment: str
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    temporary = folder / "temporary"
    temporary.mkdir()
    command = "examples.standard_library", "--report", str(folder / "report")
    return demo(*command, url=url, temporary=temporary, **environment)


async def assert_no_queue_is_left(url: str, namespace: str) -> None:
    names = Names(namespace)
    async with await aio_pika.connect(url) as connection:
        for queue in (names.requests, names.reports, names.job_queue("measure")):
            channel = await connection.channel()
            with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
                await channel.get_queue(queue)


async def test_the_demo_reports_on_every_package_and_leaves_nothing(
    broker_url: str, tmp_path: Path
) -> None:
    async with library_demo(broker_url, tmp_path) as process:
        text = await finish(process)
    assert process.returncode == 0, text
    page = (tmp_path / "report" / "standard-library.html").read_text()
    packages = find_packages(library_folder())
    assert [name for name in packages if f">{name}<" not in page] == []
    assert f"{len(packages)}/{len(packages)}" in text
    assert re.search(r"notify-failure .* skipped", text)
    assert str(tmp_path / "report" / "standard-library.html") in text
    assert "\x1b" not in text
    assert_nothing_is_left(tmp_path / "temporary")
    namespace = re.search(r"namespace (demo-\w+)", text)
    assert namespace is not None, text
    await assert_no_queue_is_left(broker_url, namespace[1])


async def test_ctrl_c_stops_everything(broker_url: str, tmp_path: Path) -> None:
    async with library_demo(broker_url, tmp_path) as process:
        await read_until(process, "measure ")
        await assert_it_is_interrupted(process)
    assert_nothing_is_left(tmp_path / "temporary")


async def test_a_process_that_ends_is_named_with_its_log(broker_url: str, tmp_path: Path) -> None:
    async with library_demo(broker_url, tmp_path, BROKER_QUEUE_BATCH="none") as process:
        text = await finish(process)
    assert process.returncode == 1, text
    assert "scheduler ended with exit code 2" in text
    assert "--batch" in text
    assert "Traceback" not in text
    assert_nothing_is_left(tmp_path / "temporary")


async def test_the_quick_start_runs_as_it_stands(
    queue: JobQueue, broker_url: str, namespace: str
) -> None:
    async with running(quickstart.worker, broker_url, namespace):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "examples.quickstart.client"),
            cwd=PROJECT,
            env={
                **os.environ,
                "BROKER_QUEUE_URL": broker_url,
                "BROKER_QUEUE_NAMESPACE": namespace,
            },
            stdout=asyncio.subprocess.PIPE,
        )
        assert await finish(process) == "built from /tmp/data.csv\n"
    counts = {count.type: count.state for count in (await queue.graphs()).graphs[0].counts}
    assert counts == {
        "fetch": State.FINISHED,
        "build": State.FINISHED,
        "notify": State.SKIPPED,
    }


def test_the_graph_file_uses_jobs_of_the_demos_worker() -> None:
    path = PROJECT / "examples" / "nightly.yaml"
    graph = read_graph(path.read_text(), path.name)
    types = {job.type for job in graph.jobs}
    assert types - {None} <= set(jobs.worker.types)
