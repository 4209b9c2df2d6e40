"""The demo as people run it: a process that shows its work, writes a report and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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
from tests.support.waiting import TIMEOUT_FACTOR
from tests.support.workers import running

PROJECT = Path(__file__).parents[2]
PATIENCE = 90.0 * TIMEOUT_FACTOR
"""Seconds for the whole library on a loaded machine."""


@asynccontextmanager
async def demo(
    url: str, folder: Path, *options: str, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the demo with a folder of its own for temporary files."""
    temporary = folder / "temporary"
    temporary.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.standard_library", "--report", str(folder / "report")),
        *options,
        cwd=PROJECT,
        env={**os.environ, "BROKER_QUEUE_URL": url, "TMPDIR": str(temporary), **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def finish(process: asyncio.subprocess.Process) -> str:
    out, _ = await process.communicate()
    return out.decode()


async def read_until(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stdout is not None
    found = ""
    while text not in found:
        line = (await process.stdout.readline()).decode()
        assert line, f"the demo ended without {text!r}:\n{found}"
        found += line
    return found


def processes_in(folder: Path) -> Sequence[str]:
    """Return the processes that were told to keep their temporary files in a folder."""
    listed = subprocess.run(
        ["ps", "eww", "-eo", "args"], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if f"TMPDIR={folder}" in line]


def assert_nothing_is_left(folder: Path) -> None:
    assert list((folder / "temporary").iterdir()) == []
    assert processes_in(folder / "temporary") == []


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
    async with demo(broker_url, tmp_path) as process:
        text = await finish(process)
    assert process.returncode == 0, text
    page = (tmp_path / "report" / "standard-library.html").read_text()
    packages = find_packages(library_folder())
    assert [name for name in packages if f">{name}<" not in page] == []
    assert f"{len(packages)}/{len(packages)}" in text
    assert re.search(r"notify-failure .* skipped", text)
    assert str(tmp_path / "report" / "standard-library.html") in text
    assert "\x1b" not in text
    assert_nothing_is_left(tmp_path)
    namespace = re.search(r"namespace (demo-\w+)", text)
    assert namespace is not None, text
    await assert_no_queue_is_left(broker_url, namespace[1])


async def test_ctrl_c_stops_everything(broker_url: str, tmp_path: Path) -> None:
    async with demo(broker_url, tmp_path) as process:
        await read_until(process, "measure ")
        process.send_signal(signal.SIGINT)
        text = await finish(process)
    assert process.returncode == 130, text
    assert "Interrupted" in text
    assert "Traceback" not in text
    assert_nothing_is_left(tmp_path)


async def test_a_process_that_ends_is_named_with_its_log(broker_url: str, tmp_path: Path) -> None:
    async with demo(broker_url, tmp_path, BROKER_QUEUE_BATCH="none") as process:
        text = await finish(process)
    assert process.returncode == 1, text
    assert "scheduler ended with exit code 2" in text
    assert "--batch" in text
    assert "Traceback" not in text
    assert_nothing_is_left(tmp_path)


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
