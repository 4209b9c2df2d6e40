"""The command line: doctor, and the processes that it starts."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from pathlib import Path

import pytest
from yarl import URL

from broker_queue.cli import COMMAND
from broker_queue.cli.invocation import without_password
from broker_queue.client import JobQueue
from broker_queue.job import State
from tests.cli.processes import CommandLine, finish, line_of
from tests.support.raw import RawClient
from tests.support.schedulers import wait_until_it_answers
from tests.support.waiting import PATIENCE, until

JOBS = """
import asyncio

from broker_queue.worker import Worker

worker = Worker()

@worker.job("hello")
async def hello(args):
    return "hello " + args["name"]

@worker.job("stay")
async def stay():
    await asyncio.Event().wait()
"""


@pytest.fixture
def command_line(broker_url: str, namespace: str, tmp_path: Path) -> CommandLine:
    (tmp_path / "jobs.py").write_text(JOBS)
    return CommandLine(broker_url, namespace, tmp_path)


async def test_doctor_without_a_broker(command_line: CommandLine) -> None:
    command_line.url = "amqp://guest:secret@127.0.0.1:1/"
    found = await command_line.run("doctor")
    assert found.code == 5
    assert "✗ broker" in found.out
    assert "secret" not in found.out
    assert (await command_line.run("list")).code == 5


async def test_doctor_at_a_broker_that_refuses_it(
    command_line: CommandLine, broker_url: str
) -> None:
    given = URL(broker_url)
    for url, text in (
        (given.with_password("wrong"), "refuses the user or the password"),
        (given.with_path("/nowhere"), "refuses the virtual host"),
    ):
        found = await command_line.run("doctor", "--url", str(url))
        assert (found.code, text in found.out) == (5, True), found


async def test_doctor_finds_what_a_worker_left_that_died(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with command_line.running("worker", "jobs:worker") as process:
        job = await queue.enqueue("stay")

        async def runs() -> bool:
            return (await queue.job_status(job)).state is State.RUNNING

        await until(runs)
        process.kill()
        await process.wait()

    async def is_told() -> bool:
        found = await command_line.run("doctor")
        return found.code == 6 and "1 message and no worker consumes" in found.out

    await until(is_told)
    assert "with room for" not in (await command_line.run("doctor")).out


async def test_doctor_takes_the_message_of_a_canceled_job_for_what_it_is(
    command_line: CommandLine, queue: JobQueue, raw: RawClient
) -> None:
    job = await queue.enqueue("stay")

    await raw.request("hello", {"worker": "raw", "types": ["stay"]})
    await raw.until_ready(raw.names.job_queue("stay"), 1)
    await raw.request("hello", {"worker": "raw", "types": ["stay"], "stopping": True})
    assert (await command_line.run("doctor")).code == 6
    await queue.cancel_job(job)
    found = await command_line.run("doctor")
    assert (found.code, "running jobs" in found.out) == (0, False), found.out
    (line,) = (await queue.info()).queues
    assert (line.messages, line.handed_out, line.canceled) == (1, 0, 1)


async def test_doctor_without_a_scheduler(command_line: CommandLine) -> None:
    found = await command_line.run("doctor")
    assert found.code == 5
    assert "✓ broker" in found.out
    assert "none has run here" in found.out
    quiet = await command_line.run("doctor", "--quiet")
    assert len(quiet.lines) == 1


async def test_doctor_finds_jobs_that_nobody_takes(
    command_line: CommandLine, queue: JobQueue
) -> None:
    assert (await command_line.run("doctor", "-q")).out == ""
    await queue.enqueue("hello")
    found = await command_line.run("doctor", "--json")
    assert found.code == 6
    (problem,) = [f for f in found.json["findings"] if f["verdict"] == "problem"]
    assert problem["advice"] == "start a worker with the type hello"


async def test_a_worker_from_a_file_runs_jobs_until_it_is_interrupted(
    command_line: CommandLine, queue: JobQueue
) -> None:
    async with command_line.running("worker", "jobs:worker", "--name", "greeter") as process:
        job = await queue.enqueue("hello", {"name": "world"})
        assert await queue.result(job, timeout=PATIENCE) == "hello world"
        assert (await command_line.run("workers", "-q")).out == "greeter\n"
        assert (await command_line.run("doctor")).code == 0
        process.send_signal(signal.SIGINT)
        found = await finish(process)
    assert found.code == 0
    assert "Traceback" not in found.err
    assert (await command_line.run("workers", "-q")).out == "", "it said goodbye"


async def test_a_worker_starts_again_when_its_file_changes(
    command_line: CommandLine, queue: JobQueue
) -> None:
    source = command_line.folder / "jobs.py"
    async with command_line.running("worker", "jobs:worker", "--reload") as process:
        job = await queue.enqueue("hello", {"name": "world"})
        assert await queue.result(job, timeout=PATIENCE) == "hello world"
        source.write_text("import nonsense\n")
        while "importing jobs failed" not in await line_of(process.stderr):
            pass
        source.write_text(JOBS.replace('"hello "', '"bye "'))

        async def says_bye() -> bool:
            job = await queue.enqueue("hello", {"name": "world"})
            return await queue.result(job, timeout=PATIENCE) == "bye world"

        await until(says_bye)
        process.send_signal(signal.SIGINT)
        found = await finish(process)
    assert found.code == 0
    assert "jobs.py changed; the worker starts again" in found.err
    assert "INFO" in found.err
    assert "Traceback" not in found.err


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("jobs", "write MODULE:ATTRIBUTE"),
        ("jobs:wrker", "did you mean jobs:worker?"),
        ("nothing:worker", "there is no module 'nothing'"),
        ("broken:worker", "importing broken failed: No module named 'nonsense'"),
    ],
)
async def test_a_worker_that_cannot_be_loaded_is_code_2(
    command_line: CommandLine, target: str, text: str
) -> None:
    (command_line.folder / "broken.py").write_text("import nonsense\n")
    found = await command_line.run("worker", target)
    assert found.code == 2
    assert text in found.err.splitlines()[-1]


async def test_the_scheduler_takes_the_options_before_its_name(
    command_line: CommandLine, broker_url: str, namespace: str, database: Path
) -> None:
    command_line.namespace = "never-used"
    arguments = ("--namespace", namespace, "scheduler", "--database", str(database))
    async with command_line.running(*arguments) as process:
        await wait_until_it_answers(broker_url, namespace)
        process.send_signal(signal.SIGTERM)
        assert (await finish(process)).code == 0
    wrong = await command_line.run("scheduler", "--window", "none")
    assert wrong.code == 2
    assert "--window" in wrong.err


async def test_dev_starts_everything_and_stops_it_again(
    command_line: CommandLine, broker_url: str, namespace: str, database: Path
) -> None:
    arguments = ("dev", "--folder", str(database.parent / "dev"), "--json")
    command_line.url = f"{broker_url}/"
    async with command_line.running(*arguments) as process:
        facts = json.loads(await line_of(process.stdout))
        assert (facts["url"], facts["namespace"]) == (broker_url, namespace)  # without the slash
        second = await command_line.run(*arguments[:3])
        assert second.code == 2
        assert second.err == (
            f"Error: dev already runs here: pid {process.pid}, URL {without_password(broker_url)}; "
            "use that, or give another --folder\n"
        )
        job = (await command_line.run("enqueue", "hello", '{"name": "you"}')).out.strip()
        async with command_line.running("worker", "jobs:worker"):
            assert (await command_line.run("wait", job, "-q")).out == '"hello you"\n'
        process.send_signal(signal.SIGTERM)
        assert (await finish(process)).code == 0
    assert (await command_line.run("doctor")).code == 5
    _move(facts["database"], database)  # it names the queues that are to be deleted


def _move(source: str, target: Path) -> None:
    Path(source).rename(target)


async def test_dev_says_when_its_scheduler_dies(command_line: CommandLine, database: Path) -> None:
    folder = database.parent / "dev"
    folder.mkdir()
    (folder / "broker-queue.sqlite3").write_text("this is no database" * 100)
    found = await command_line.run("dev", "--folder", str(folder))
    assert found.code == 2
    assert "the scheduler did not start" in found.err
    assert "Traceback" not in found.err


async def test_dev_without_a_broker_at_its_url_is_code_5(command_line: CommandLine) -> None:
    found = await command_line.run("dev", "--url", "amqp://guest:secret@127.0.0.1:1/")
    assert found.code == 5
    assert "no broker answers at amqp://guest@127.0.0.1:1 (" in found.err
    assert "secret" not in found.err


async def test_dev_in_a_folder_that_cannot_be_used_is_code_2(command_line: CommandLine) -> None:
    (command_line.folder / "file").write_text("")
    for folder, text in (
        ("file", "cannot work in file: "),
        ("file/below", "cannot work in file/below: "),
        ("", "Invalid value for '--folder': it is empty"),
    ):
        found = await command_line.run("dev", "--folder", folder)
        assert (found.code, text in found.err) == (2, True), found


async def test_dev_hides_only_a_folder_that_it_made_from_git(command_line: CommandLine) -> None:
    (command_line.folder / "mine").mkdir()
    for folder in ("mine", "new"):
        await command_line.run("dev", "--folder", folder, "--url", "amqp://127.0.0.1:1/")
    found = [(command_line.folder / name / ".gitignore").exists() for name in ("mine", "new")]
    assert found == [False, True]


async def test_output_into_a_closed_pipe_is_no_error(
    command_line: CommandLine, queue: JobQueue
) -> None:
    await asyncio.gather(*(queue.enqueue("hello") for _ in range(300)))
    command = shlex.join([*COMMAND, "list", "--all", "--json"])
    process = await asyncio.create_subprocess_shell(
        f"{command} | head -c 10",
        env=command_line.full_environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (len(out), err) == (10, b"")
