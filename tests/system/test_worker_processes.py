"""``worker --processes``: several processes, the parent that keeps them, and how all of them end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from broker_queue.client import JobQueue
from broker_queue.job import JobId, State
from tests.cli.processes import CommandLine, finish, line_of
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE, until

JOBS = """
import asyncio
import os
from pathlib import Path

from broker_queue.running import Job
from broker_queue.worker import Worker

worker = Worker(concurrency=1, name="twin")
Path(f"imported-{os.getpid()}").touch()

@worker.job("gated")
@worker.job("other")
async def gated(job: Job):
    Path(f"{job.id}.new").write_text(str(os.getpid()))
    Path(f"{job.id}.new").rename(f"begun-{job.id}")
    while not Path("gate").exists():
        await asyncio.sleep(0.005)
    return os.getpid()
"""

ONE_CANNOT_WORK = """
import time
from pathlib import Path

Path("waits").mkdir()  # the second process fails here
time.sleep(600)
"""

ONE_DIES = """
import os
import time
from pathlib import Path

try:
    Path("waits").mkdir()
except FileExistsError:
    os._exit(9)
time.sleep(600)
"""

TWO = ("worker", "jobs:worker", "--processes", "2")


@pytest.fixture
def command_line(broker_url: str, namespace: str, tmp_path: Path) -> CommandLine:
    (tmp_path / "jobs.py").write_text(JOBS)
    return CommandLine(broker_url, namespace, tmp_path)


def open_gate(command_line: CommandLine) -> None:
    (command_line.folder / "gate").touch()


async def run_by(command_line: CommandLine, *jobs: JobId) -> list[int]:
    """Return the pids of the processes that run these jobs, once all have begun."""
    paths = [command_line.folder / f"begun-{job}" for job in jobs]

    async def all_begun() -> bool:
        return all(path.exists() for path in paths)

    await until(all_begun)
    return [int(path.read_text()) for path in paths]


async def until_nobody_takes(raw: RawClient) -> None:
    """Look at a type of which none is held: a consumer counts until it has none unacknowledged."""
    await raw.until_consumed(raw.names.job_queue("other"), 0)


async def until_both_take(parent: asyncio.subprocess.Process) -> None:
    """Return once a job each goes to both processes; the first alone would take two."""
    expected = {f"[{number}] worker twin-{number} takes jobs of " for number in (1, 2)}
    while expected:
        line = await line_of(parent.stderr)
        expected = {text for text in expected if text not in line}


async def names_of_workers(queue: JobQueue) -> list[str]:
    return sorted(worker.worker for worker in await queue.workers())


async def test_jobs_are_spread_over_processes_with_names_of_their_own(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with command_line.running(*TWO) as parent:
        await until_both_take(parent)
        jobs = [await queue.enqueue("gated") for _ in range(2)]
        pids = await run_by(command_line, *jobs)
        assert await names_of_workers(queue) == ["twin-1", "twin-2"]
        assert {worker.pid for worker in await queue.workers()} == set(pids)

        async def are_named() -> bool:
            names = {status.worker for status in await queue.job_statuses(jobs)}
            return names == {"twin-1", "twin-2"}

        await until(are_named)
        open_gate(command_line)
        await queue.wait(jobs, timeout=PATIENCE)
        imported = {path.name for path in command_line.folder.glob("imported-*")}
        assert imported == {f"imported-{pid}" for pid in pids}, "the parent imports nothing"
        parent.send_signal(signal.SIGINT)
        found = await finish(parent)
    assert found.code == 0, found.err
    assert "WARNING" not in found.err
    assert await queue.workers() == [], "all said goodbye"


@pytest.mark.parametrize(
    ("request_to_stop", "goes_to_all"),
    [
        pytest.param(signal.SIGTERM, False, id="SIGTERM to the parent"),
        pytest.param(signal.SIGINT, True, id="SIGINT to all at once, which counts once"),
    ],
)
async def test_a_signal_lets_running_jobs_finish(
    command_line: CommandLine,
    queue: JobQueue,
    raw: RawClient,
    request_to_stop: signal.Signals,
    goes_to_all: bool,
) -> None:
    async with command_line.running(*TWO) as parent:
        await until_both_take(parent)
        jobs = [await queue.enqueue("gated") for _ in range(2)]
        pids = await run_by(command_line, *jobs)
        for pid in (*(pids if goes_to_all else ()), parent.pid):
            os.kill(pid, request_to_stop)
        await until_nobody_takes(raw)
        open_gate(command_line)
        found = await finish(parent)
    assert found.code == 0, found.err
    assert [await queue.result(job, timeout=PATIENCE) for job in jobs] == pids


async def test_a_second_signal_ends_the_grace_time(
    command_line: CommandLine, queue: JobQueue, raw: RawClient
) -> None:
    async with command_line.running(*TWO) as parent:
        await until_both_take(parent)
        jobs = [await queue.enqueue("gated", max_attempts=1) for _ in range(2)]
        await run_by(command_line, *jobs)
        parent.send_signal(signal.SIGTERM)
        await until_nobody_takes(raw)
        parent.send_signal(signal.SIGTERM)
        found = await finish(parent)
    assert found.code == 0, found.err
    for status in await queue.job_statuses(jobs):
        assert (status.state, status.attempt) == (State.QUEUED, 1), "handed back"


async def test_a_process_that_is_killed_is_replaced_and_its_job_runs_again(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with command_line.running(*TWO) as parent:
        await until_both_take(parent)
        job = await queue.enqueue("gated")
        (pid,) = await run_by(command_line, job)
        os.kill(pid, signal.SIGKILL)
        while f"(pid {pid}) was killed by SIGKILL; it starts again in" not in await line_of(
            parent.stderr
        ):
            pass
        open_gate(command_line)
        assert await queue.result(job, timeout=PATIENCE) != pid
        while " takes jobs of " not in await line_of(parent.stderr):
            pass
        assert await names_of_workers(queue) == ["twin-1", "twin-2"], "as before"


async def test_a_process_that_dies_again_and_again_is_given_longer_pauses(
    command_line: CommandLine,
) -> None:
    (command_line.folder / "jobs.py").write_text(ONE_DIES)
    async with command_line.running(*TWO) as parent:
        pauses: list[str] = []
        while len(pauses) < 2:
            pauses += re.findall(
                r"exit code 9; it starts again in (\d+) s", await line_of(parent.stderr)
            )
        parent.send_signal(signal.SIGTERM)
        found = await finish(parent)
    assert pauses == ["1", "2"]
    assert found.code == 0, found.err


async def test_processes_stop_in_order_when_their_parent_is_killed(
    command_line: CommandLine, queue: JobQueue, raw: RawClient
) -> None:
    async with command_line.running(*TWO) as parent:
        await until_both_take(parent)
        jobs = [await queue.enqueue("gated") for _ in range(2)]
        pids = await run_by(command_line, *jobs)
        parent.kill()
        await until_nobody_takes(raw)
        open_gate(command_line)
        found = await finish(parent)  # standard error is open until the last process has ended
    assert found.code == -signal.SIGKILL
    assert "[1] the parent process is gone" in found.err
    assert "[2] the parent process is gone" in found.err
    assert [await queue.result(job, timeout=PATIENCE) for job in jobs] == pids


async def test_a_process_that_still_imports_ends_with_its_parent(command_line: CommandLine) -> None:
    (command_line.folder / "jobs.py").write_text(f"{JOBS}\nimport time\ntime.sleep(600)\n")
    for request in (signal.SIGTERM, signal.SIGKILL):
        for path in command_line.folder.glob("imported-*"):
            path.unlink()
        async with command_line.running(*TWO) as parent:

            async def both_import() -> bool:
                return len([*command_line.folder.glob("imported-*")]) == 2

            await until(both_import)
            parent.send_signal(request)
            found = await finish(parent)
        assert found.code == (0 if request is signal.SIGTERM else -request), found.err


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("nothing", "there is no module 'nothing'"),
        ("broken", "importing broken failed: No module named 'nonsense'"),
        ("one", "importing one failed: [Errno"),
    ],
)
async def test_a_process_that_can_never_work_ends_all_with_code_2(
    command_line: CommandLine, module: str, text: str
) -> None:
    (command_line.folder / "broken.py").write_text("import nonsense\n")
    (command_line.folder / "one.py").write_text(ONE_CANNOT_WORK)
    found = await command_line.run("worker", f"{module}:worker", "--processes", "2")
    assert found.code == 2
    assert text in found.err
    assert found.err.count("it can never work, so all end") == 1


async def test_one_process_has_no_parent(command_line: CommandLine, queue: JobQueue) -> None:
    async with command_line.running("worker", "jobs:worker", "--processes", "1") as process:
        job = await queue.enqueue("gated")
        open_gate(command_line)
        assert await queue.result(job, timeout=PATIENCE) == process.pid
        assert await names_of_workers(queue) == ["twin"]


async def test_several_processes_start_again_when_a_file_changes(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with command_line.running(*TWO, "--reload") as parent:
        await until_both_take(parent)
        before = {worker.pid for worker in await queue.workers()}
        (command_line.folder / "jobs.py").write_text(JOBS + "\n")
        await until_both_take(parent)
        assert not before & {worker.pid for worker in await queue.workers()}
        parent.send_signal(signal.SIGINT)
        found = await finish(parent)
    assert found.code == 0, found.err
