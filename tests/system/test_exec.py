"""``exec``: a program as a worker, what becomes of its output, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker_queue.client import JobQueue
from broker_queue.conformance.rehearsal import ODD_ARGS
from broker_queue.graph import Graph
from broker_queue.job import JobId, State
from broker_queue.protocol.codec import RawJson
from tests.cli.processes import CommandLine, finish, line_of
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, until

TREE = """
sleep 600 & echo $! >> pids
timeout 600 sh -c 'echo $$ >> pids; sleep 600' & echo $! >> pids
echo $$ >> pids
wait
"""
"""Four processes in one session; timeout(1) makes a process group of its own."""

STUBBORN = """
trap '' TERM
sh -c 'echo $$ >> pids; sleep 600' & echo $! >> pids
echo $$ >> pids; echo $$ >> pids
wait
"""

GATE = "touch begun; while [ ! -e gate ]; do sleep 0.02; done"
GATED = f"{GATE}; echo '\"done\"'"

REHEARSAL = Path(__file__).parents[1] / "conformance" / "rehearsal.sh"

SHOW_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


@pytest.fixture
def command_line(broker_url: str, namespace: str, tmp_path: Path) -> CommandLine:
    return CommandLine(broker_url, namespace, tmp_path)


@asynccontextmanager
async def worker_of(
    command_line: CommandLine, script: str, *options: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a worker whose jobs of type ``run`` are done by a shell script."""
    arguments = ("exec", "run", "--grace", "0", *options, "--", "sh", "-c", script)
    async with command_line.running(*arguments) as process:
        yield process


async def ending(queue: JobQueue, args: Any = None, **options: Any) -> Any:
    """Return the status of a new job once it has ended."""
    job = await queue.enqueue("run", args, **{"max_attempts": 1, **options})
    await queue.wait([job], timeout=PATIENCE)
    return await queue.job_status(job)


async def until_there(path: Path) -> None:
    async def is_there() -> bool:
        return path in there.iterdir()

    there = path.parent
    await until(is_there)


async def pids_of(command_line: CommandLine, count: int = 4) -> list[int]:
    """Return what a script wrote to ``pids``, once it is complete."""
    path = command_line.folder / "pids"

    async def are_there() -> bool:
        return path.exists() and len(path.read_text().split()) == count

    await until(are_there)
    return sorted({int(pid) for pid in path.read_text().split()})


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until_gone(pids: list[int]) -> None:
    """Return once none is left, not even as a zombie."""

    async def are_gone() -> bool:
        return not any(is_alive(pid) for pid in pids)

    await until(are_gone)


async def test_args_come_on_stdin_and_the_output_is_the_result_byte_for_byte(
    command_line: CommandLine, queue: JobQueue
) -> None:
    args = '{"n": 12345678901234567890, "x": [1.10, "ü"]}'
    async with worker_of(command_line, "cat; echo"):
        job = (await command_line.run("enqueue", "run", args)).out.strip()
        assert (await command_line.run("wait", job, "-q")).out == f"{args}\n"


@pytest.mark.parametrize(
    ("script", "options", "result"),
    [
        ("exit 0", (), None),
        ("printf ' [1,\\n 2]\\n\\n'", (), [1, 2]),
        ("printf 12", ("--text",), "12"),
        ("printf 'two\\nlines\\n\\n'", ("--text",), "two\nlines\n"),
        ("exit 0", ("--text",), ""),
    ],
)
async def test_what_output_is_as_a_result(
    command_line: CommandLine, queue: JobQueue, script: str, options: tuple[str, ...], result: Any
) -> None:
    async with worker_of(command_line, script, *options):
        job = await queue.enqueue("run")
        assert await queue.result(job, timeout=PATIENCE) == result


@pytest.mark.parametrize(
    ("script", "options", "text"),
    [
        ("echo hello", (), "standard output is no JSON"),
        ("echo '[1] 2'", (), "standard output is no JSON"),
        ("printf '\"\\377\"'", (), "standard output is not UTF-8"),
        ("printf 'a\\377'", ("--text",), "standard output is not UTF-8: invalid start byte at"),
        ("cat /dev/zero", (), "standard output has more than 1,048,576 bytes"),
        ("yes | head -c 2000", ("--max-result-bytes", "1000"), "more than 1,000 bytes"),
    ],
)
async def test_output_that_is_no_result_fails_the_job_for_good(
    command_line: CommandLine, queue: JobQueue, script: str, options: tuple[str, ...], text: str
) -> None:
    async with worker_of(command_line, script, *options):
        status = await ending(queue, max_attempts=3)
    assert (status.state, status.attempt) == (State.FAILED, 1)
    assert status.error.code == "invalid_result"
    assert text in status.error.message


async def test_a_failure_tells_the_last_lines_of_standard_error_and_is_tried_again(
    command_line: CommandLine, queue: JobQueue
) -> None:
    script = 'seq 100 >&2; echo "attempt $BROKER_QUEUE_ATTEMPT" >&2; exit 3'
    async with worker_of(command_line, script) as process:
        status = await ending(queue, max_attempts=2, backoff=timedelta(0))
        process.send_signal(signal.SIGTERM)
        found = await finish(process)
    assert (status.state, status.attempt, status.error.code) == (State.FAILED, 2, "exit_3")
    assert status.error.message.splitlines() == [*map(str, range(92, 101)), "attempt 2"]
    assert status.error.details["exit_code"] == 3
    assert status.error.details["stderr"].startswith("1\n2\n")
    assert f"{status.id}: attempt 1\n" in found.err


@pytest.mark.parametrize(
    ("script", "code", "attempts"),
    [
        ("exit 64", "exit_64", 1),
        ("exit 65", "invalid_args", 1),
        ("exit 75", "exit_75", 2),
        ("kill -9 $$", "signal_9", 2),
    ],
)
async def test_which_failures_are_tried_again(
    command_line: CommandLine, queue: JobQueue, script: str, code: str, attempts: int
) -> None:
    async with worker_of(command_line, script):
        status = await ending(queue, max_attempts=2, backoff=timedelta(0))
    assert (status.error.code, status.attempt) == (code, attempts)
    assert "wrote nothing to standard error" in status.error.message


async def test_the_environment_tells_of_the_job_and_where_its_scheduler_is(
    command_line: CommandLine, queue: JobQueue, broker_url: str, namespace: str
) -> None:
    command_line.environment["BROKER_QUEUE_GRAPH"] = "of somebody else"
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    show = f"{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    async with worker_of(command_line, show, "--channel", "", "--channel", "north"):
        alone = await queue.enqueue("run", channel="north", max_attempts=4)
        plain = await queue.result(alone, timeout=PATIENCE)
        graph = Graph("traced")
        job = graph.add("run", name="first", traceparent=trace)
        await queue.submit(graph)
        told = await queue.result(job, timeout=PATIENCE)
    assert (plain["BROKER_QUEUE_URL"], plain["BROKER_QUEUE_NAMESPACE"]) == (broker_url, namespace)
    assert (plain["BROKER_QUEUE_JOB"], plain["BROKER_QUEUE_JOB_TYPE"]) == (alone, "run")
    assert (plain["BROKER_QUEUE_ATTEMPT"], plain["BROKER_QUEUE_MAX_ATTEMPTS"]) == ("1", "4")
    assert plain["BROKER_QUEUE_CHANNEL"] == "north"
    for name in ("BROKER_QUEUE_NAME", "BROKER_QUEUE_GRAPH", "TRACEPARENT"):
        assert name not in plain
    assert told["BROKER_QUEUE_NAME"] == "first"
    assert told["BROKER_QUEUE_GRAPH"] == graph.id
    assert told["TRACEPARENT"] == trace


async def test_lines_with_progress_are_told_and_not_logged(
    command_line: CommandLine, queue: JobQueue
) -> None:
    script = f"echo '::progress 0.5 half of it' >&2; echo '::progress of a kind' >&2; {GATED}"
    async with worker_of(command_line, script) as process:
        job = await queue.enqueue("run")

        async def is_told() -> bool:
            progress = (await queue.job_status(job)).progress
            return progress is not None and progress.message == "half of it"

        await until(is_told)
        (command_line.folder / "gate").touch()
        await queue.result(job, timeout=PATIENCE)
        process.send_signal(signal.SIGTERM)
        found = await finish(process)
    assert "half of it" not in found.err
    assert "::progress of a kind" in found.err, "it is none, and seen"


async def test_control_characters_and_bad_text_do_no_harm_in_the_log(
    command_line: CommandLine, queue: JobQueue
) -> None:
    script = r"printf ' 10%%\r 20%%\r\na\033[31mb\377\n' >&2; head -c 20000 /dev/zero | tr '\0' x >&2; exit 1"
    async with worker_of(command_line, script) as process:
        status = await ending(queue)
        process.send_signal(signal.SIGTERM)
        found = await finish(process)
    assert r"a\x1b[31mb\xff" in found.err
    assert f"{status.id}:  20%\n" in found.err, "a progress bar as a terminal shows it"
    assert max(map(len, found.err.splitlines())) < 10_000
    assert set(status.error.message) == {"x"}


async def test_a_cancel_ends_all_that_the_program_started(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with worker_of(command_line, TREE, "--concurrency", "1"):
        job = await queue.enqueue("run")
        pids = await pids_of(command_line)
        await queue.cancel_job(job)
        await until_gone(pids)
        assert (await queue.job_status(job)).state is State.CANCELED


async def test_what_ignores_sigterm_is_killed(command_line: CommandLine, queue: JobQueue) -> None:
    async with worker_of(command_line, STUBBORN):
        job = await queue.enqueue("run")
        pids = await pids_of(command_line)
        await queue.cancel_job(job)
        await until_gone(pids)


async def test_a_program_may_clean_up_when_it_is_canceled(
    command_line: CommandLine, queue: JobQueue
) -> None:
    script = "trap 'sleep 0.2; touch cleaned; exit 1' TERM; touch begun; sleep 600 & wait"
    async with worker_of(command_line, script):
        job = await queue.enqueue("run")
        await until_there(command_line.folder / "begun")
        await queue.cancel_job(job)
        await until_there(command_line.folder / "cleaned")


async def test_a_time_limit_ends_all_that_the_program_started(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with worker_of(command_line, TREE):
        status = await ending(queue, timeout=1.0)
        assert status.error.code == "timeout"
        await until_gone(await pids_of(command_line))


async def test_sigterm_to_the_worker_lets_the_program_finish(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with worker_of(command_line, GATED, "--grace", "30s") as process:
        job = await queue.enqueue("run")
        await until_there(command_line.folder / "begun")
        process.send_signal(signal.SIGTERM)
        while " stops; " not in await line_of(process.stderr):
            pass
        (command_line.folder / "gate").touch()
        found = await finish(process)
    assert found.code == 0, found.err
    assert await queue.result(job, timeout=PATIENCE) == "done"


async def test_beyond_the_grace_time_the_program_is_ended_and_its_job_handed_back(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with worker_of(command_line, TREE) as process:
        job = await queue.enqueue("run", max_attempts=1)
        pids = await pids_of(command_line)
        process.send_signal(signal.SIGTERM)
        found = await finish(process)
        await until_gone(pids)
    assert found.code == 0, found.err
    status = await queue.job_status(job)
    assert (status.state, status.attempt) == (State.QUEUED, 1)


@pytest.mark.parametrize("script", [TREE, STUBBORN])
async def test_a_worker_that_is_killed_leaves_nothing_of_its_programs(
    command_line: CommandLine, queue: JobQueue, script: str
) -> None:
    async with worker_of(command_line, script) as process:
        await queue.enqueue("run")
        pids = await pids_of(command_line)
        launcher = children_of(process.pid)
        process.kill()
        await until_gone([*pids, *launcher])
        await finish(process)


async def test_without_the_process_that_starts_programs_the_worker_ends(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with worker_of(command_line, TREE) as process:
        job = await queue.enqueue("run", max_attempts=1)
        pids = await pids_of(command_line)
        (launcher,) = children_of(process.pid)
        os.kill(launcher, signal.SIGKILL)
        found = await finish(process)
        await until_gone(pids)
    assert found.code == 70
    assert found.err.splitlines()[-1].startswith("Error: the process that starts the programs")
    (command_line.folder / "pids").unlink()
    async with worker_of(command_line, "echo '\"again\"'"):
        assert await queue.result(job, timeout=PATIENCE) == "again"


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def open_files(pid: int) -> int:
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


async def test_a_program_need_not_read_its_args(command_line: CommandLine, queue: JobQueue) -> None:
    async with worker_of(command_line, "exec < /dev/null; echo 1"):
        job = await queue.enqueue("run", "x" * 500_000)
        assert await queue.result(job, timeout=PATIENCE) == 1


async def test_a_program_that_closes_its_output_early_is_waited_for(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with worker_of(command_line, f"echo 1; exec 1>&- 2>&-; {GATE}"):
        job = await queue.enqueue("run")
        await until_there(command_line.folder / "begun")
        assert (await queue.job_status(job)).state is not State.FINISHED
        (command_line.folder / "gate").touch()
        assert await queue.result(job, timeout=PATIENCE) == 1


@pytest.mark.parametrize("start", ["", "setsid"])
async def test_the_result_is_complete_when_the_program_ends_whoever_holds_its_output_open(
    command_line: CommandLine, queue: JobQueue, start: str
) -> None:
    script = (
        f"{start} sh -c 'echo $$ > pids; exec sleep 60' & "
        "while [ ! -s pids ]; do sleep 0.01; done; echo 1"
    )
    async with worker_of(command_line, script):
        job = await queue.enqueue("run")
        assert await queue.result(job, timeout=PATIENCE) == 1
        (pid,) = await pids_of(command_line, 1)
        if start:
            os.kill(pid, signal.SIGKILL)  # what leaves the session is left alone
        await until_gone([pid])


async def test_a_long_program_is_held_by_lease(
    command_line: CommandLine, broker_url: str, namespace: str, database: Path
) -> None:
    settings = {"lease_after": 0.1, "lease_duration": 1.0}
    async with (
        RunningScheduler(url=broker_url, namespace=namespace, database=database, **settings),
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
        worker_of(command_line, "echo $$ >> pids; sleep 3; echo 1"),
    ):
        job = await queue.enqueue("run")
        assert await queue.result(job, timeout=PATIENCE) == 1
        assert len(await pids_of(command_line, 1)) == 1, "it ran once"


async def test_many_quick_jobs(command_line: CommandLine, queue: JobQueue) -> None:
    async with worker_of(command_line, "cat", "--concurrency", "8") as process:
        jobs: list[JobId] = [await queue.enqueue("run", number) for number in range(100)]
        await queue.wait(jobs, timeout=PATIENCE)
        assert [await queue.result(job) for job in jobs] == list(range(100))
        assert len(children_of(process.pid)) == 1
        (launcher,) = children_of(process.pid)

        async def has_no_children() -> bool:
            return not children_of(launcher)

        await until(has_no_children)
        assert open_files(launcher) < 10


async def test_the_rehearsal_script_keeps_the_contract(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with command_line.running("exec", "run", "--", "sh", str(REHEARSAL)):
        for args in ODD_ARGS:
            job = await queue.enqueue("run", RawJson(args))
            assert (await queue.wait([job], timeout=PATIENCE))[0].raw_result == args
        failing = await ending(queue, {"fail": "as\ntold"})
        assert (failing.error.code, failing.error.message) == ("exit_1", "as\ntold")
        malformed = await ending(queue, "no object", max_attempts=2)
        assert (malformed.error.code, malformed.attempt) == ("invalid_args", 1)


async def test_a_program_that_cannot_be_started_fails_the_job(
    command_line: CommandLine, queue: JobQueue
) -> None:
    script = command_line.folder / "script"
    script.write_text("echo 1\n")  # without #!
    script.chmod(0o755)
    async with command_line.running("exec", "run", "--", "./script"):
        status = await ending(queue)
    assert status.error.code == "not_started"
    assert "./script cannot be started: Exec format error" in status.error.message


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("exec", "run", "--", "no-such-program"), "there is no program 'no-such-program'"),
        (("exec", "run", "--", "./plain"), "there is no program './plain'"),
        (("exec", "run"), "Missing argument"),
        (("exec", "no type", "--", "true"), "no type"),
        (("exec", "run", "--name", "", "--", "true"), "name is ''"),
    ],
)
async def test_what_can_never_work_is_code_2(
    command_line: CommandLine, arguments: tuple[str, ...], text: str
) -> None:
    (command_line.folder / "plain").touch()
    found = await command_line.run(*arguments)
    assert found.code == 2
    assert re.search(re.escape(text), found.err), found.err


async def test_the_scripts_own_options_are_left_alone(
    command_line: CommandLine, queue: JobQueue
) -> None:
    arguments = ("exec", "run", "--", sys.executable, "-c", SHOW_ARGUMENTS, "--name", "-q", "--")
    async with command_line.running(*arguments):
        job = await queue.enqueue("run")
        assert await queue.result(job, timeout=PATIENCE) == ["--name", "-q", "--"]
