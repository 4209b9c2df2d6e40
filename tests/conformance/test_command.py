"""The command ``conformance``: what it prints, how it ends, what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from broker_queue.cli import main
from broker_queue.client import JobQueue
from broker_queue.conformance.rehearse import ALL
from broker_queue.local_broker.node import PrivateNode
from tests.cli.processes import CommandLine, finish, line_of
from tests.conformance.rehearsals import FOLDER, WRONG_WORKER, left_on_broker
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE

OUR_WORKER = (sys.executable, str(FOLDER / "our_worker.py"))
CONFORMANCE = ("conformance", "--type", "rehearsal")


@pytest.fixture
def command_line(broker_url: str, namespace: str, tmp_path: Path) -> CommandLine:
    return CommandLine(broker_url, namespace, tmp_path)


def with_its_pid(folder: Path, *command: str) -> tuple[str, ...]:
    """Return a command that notes in a file which process it is."""
    return ("sh", "-c", f'echo $$ > {folder / "pid"}; exec "$@"', "sh", *command)


async def is_gone(folder: Path) -> bool:
    """Whether the worker's process has ended."""
    try:
        os.kill(int((folder / "pid").read_text()), 0)
    except ProcessLookupError:
        return True
    return False


async def test_our_worker_is_of_level_3(command_line: CommandLine, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    process = await command_line.start(
        *CONFORMANCE, "--level", "3", "--json", "--junit", str(report), "--", *OUR_WORKER
    )
    async with asyncio.timeout(5 * PATIENCE):
        out, err = await process.communicate()
    told = json.loads(out)
    assert [check for check in told["checks"] if check["outcome"] != "passed"] == [], err
    assert [check["check"] for check in told["checks"]] == list(ALL)
    assert (told["type"], told["level"], process.returncode) == ("rehearsal", 3, 0)
    suite = ET.parse(report).getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == (str(len(ALL)), "0")
    assert suite.find("properties/property[@name='level'][@value='3']") is not None
    assert await left_on_broker(command_line.url, command_line.namespace) == []


async def test_some_checks_say_nothing_of_a_level(
    command_line: CommandLine, tmp_path: Path
) -> None:
    some = (*CONFORMANCE, "--only", "failed")
    worker = with_its_pid(tmp_path, *WRONG_WORKER)
    found = await command_line.run(*some, "--", *worker)
    assert (found.code, found.err) == (0, "")
    assert found.lines[-1] == "Some checks only: 3 passed"
    assert await is_gone(tmp_path)
    assert await left_on_broker(command_line.url, command_line.namespace) == []
    found = await command_line.run(*some, "--quiet", "--", *WRONG_WORKER)
    assert (found.code, found.out) == (0, "passed\n")
    found = await command_line.run(
        *some, "--json", "--", *WRONG_WORKER, "--fault", "invalid-failed"
    )
    assert (found.code, found.json["level"]) == (6, None)
    assert [check["outcome"] for check in found.json["checks"]] == ["passed", "passed", "failed"]


async def test_checks_above_the_level_that_is_asked_for_are_not_made(
    command_line: CommandLine,
) -> None:
    asked = (*CONFORMANCE, "--level", "1", "--", *WRONG_WORKER, "--fault", "no-control")
    found = await command_line.run(*asked)
    assert (found.code, found.lines[-1]) == (0, "Level 1 of 3: 6 passed")


async def test_a_worker_that_cannot_start_reaches_no_level(command_line: CommandLine) -> None:
    worker = (*WRONG_WORKER, "--fault", "crashes")
    found = await command_line.run(*CONFORMANCE, "--", *worker)
    assert (found.code, found.err) == (6, "")
    assert found.lines[-1] == f"No level is reached: 1 failed, {len(ALL) - 1} not checked"
    left = [line.split(maxsplit=2) for line in found.lines if line.startswith("·")]
    assert left == [
        ["·", level, "all others         not looked at: consume failed"] for level in "123"
    ]
    assert "→ it fails at its start: see what it prints" in found.out


async def test_a_worker_that_somebody_else_starts_is_told_where_the_broker_is(
    command_line: CommandLine, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    some = ("--only", "shutdown", "--port", str(port))
    async with command_line.running(*CONFORMANCE, *some) as process:
        assert "Start the worker" in await line_of(process.stderr)
        lines = [await line_of(process.stderr) for _ in range(2)]
        exported = dict(line.removeprefix("  export ").split("=", 1) for line in lines)
        assert exported["BROKER_QUEUE_URL"].endswith(f"@127.0.0.1:{port}")  # any library's `/`
        assert exported["BROKER_QUEUE_NAMESPACE"] == command_line.namespace
        worker = await asyncio.create_subprocess_exec(
            *WRONG_WORKER, env=os.environ | exported, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            found = await finish(process)
        finally:
            worker.terminate()
            await worker.wait()
    assert found.code == 0
    assert "the kit starts no worker" in found.out


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("fault", ["", "ignores-sigterm"])
async def test_who_stops_the_kit_is_told_what_it_has_found_however_often(
    fault: str, told: signal.Signals, command_line: CommandLine, tmp_path: Path
) -> None:
    worker = with_its_pid(tmp_path, *WRONG_WORKER, "--fault", fault)
    async with command_line.running(*CONFORMANCE, "--", *worker) as process:
        assert "consume" in await line_of(process.stdout)
        process.send_signal(told)
        stopping = "stopping, once the worker has ended and the queues are deleted …"
        assert await line_of(process.stderr) == stopping
        process.send_signal(told)
        await asyncio.sleep(0.3)
        if process.returncode is None:
            process.send_signal(told)
        found = await finish(process)
    (said,) = found.err.splitlines()
    assert found.code == 130
    assert re.fullmatch(r"Error: interrupted; so far: \d passed; the worker was ended", said), said
    assert await is_gone(tmp_path)
    assert await left_on_broker(command_line.url, command_line.namespace) == []


async def test_who_stops_the_kit_is_told_what_is_left_on_the_broker(
    command_line: CommandLine, node: PrivateNode, tmp_path: Path
) -> None:
    command_line.url = node.url
    worker = with_its_pid(tmp_path, *WRONG_WORKER, "--fault", "ignores-sigterm")
    async with command_line.running(*CONFORMANCE, "--", *worker) as process:
        assert "consume" in await line_of(process.stdout)
        process.send_signal(signal.SIGINT)
        assert "stopping, " in await line_of(process.stderr)
        node.kill()
        found = await finish(process)
    assert found.code == 130
    assert f"not deleted on the broker: {command_line.namespace}." in found.err
    assert f"{command_line.namespace}.jobs.rehearsal" in found.err
    assert await is_gone(tmp_path)


async def test_ctrl_c_before_the_first_check_says_so(command_line: CommandLine) -> None:
    async with command_line.running(*CONFORMANCE) as process:
        assert "Start the worker" in await line_of(process.stderr)
        process.send_signal(signal.SIGINT)
        found = await finish(process)
    assert found.err.splitlines()[-1] == "Error: interrupted; so far: no check was made"
    assert (found.code, found.out) == (130, "")


async def test_a_lost_broker_is_not_the_workers_fault(
    command_line: CommandLine, node: PrivateNode, tmp_path: Path
) -> None:
    command_line.url = node.url
    worker = with_its_pid(tmp_path, *WRONG_WORKER)
    async with command_line.running(*CONFORMANCE, "--", *worker) as process:
        assert "consume" in await line_of(process.stdout)
        node.kill()
        found = await finish(process)
    assert (found.code, "✗" in found.out, "Traceback" in found.err) == (5, False, False)
    assert "Error: the broker was lost in check " in found.err
    assert await is_gone(tmp_path)


async def test_what_was_there_before_stays(command_line: CommandLine, queue: JobQueue) -> None:
    names = await left_on_broker(command_line.url, command_line.namespace)
    found = await command_line.run(*CONFORMANCE, "--", *WRONG_WORKER)
    assert found.code == 2
    assert "a scheduler is active in namespace" in found.err
    assert "--namespace" in found.err
    assert await left_on_broker(command_line.url, command_line.namespace) == names


async def test_a_queue_with_messages_is_not_touched(
    command_line: CommandLine, broker_url: str
) -> None:
    async with RawClient(broker_url, command_line.namespace) as raw:
        name = raw.names.job_queue("rehearsal")
        await raw.channel.underlying.queue_declare(name, durable=True)
        try:
            await raw.publish("", name, b"{}")
            await raw.until_ready(name, 1)
            found = await command_line.run(*CONFORMANCE, "--", *WRONG_WORKER)
            assert found.code == 2
            assert (
                f"queue {name} is not empty (1), and the kit would lose what it holds" in found.err
            )
            assert await raw.count(name) == 1
            await raw.channel.underlying.queue_purge(name)
            await raw.channel.consume(name, lambda _: None, prefetch=1)
            found = await command_line.run(*CONFORMANCE, "--", *WRONG_WORKER)
            assert (found.code, "is consumed by somebody else" in found.err) == (2, True)
        finally:
            await raw.channel.underlying.queue_delete(name)


async def test_a_port_in_use_is_named(command_line: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = await command_line.run(*CONFORMANCE, "--port", port, "--", *WRONG_WORKER)
    assert (found.code, f"cannot listen at port {port}" in found.err) == (2, True)
    assert await left_on_broker(command_line.url, command_line.namespace) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "leases"), "no check is called 'leases'; did you mean 'lease'? There are: co"),
        (("--only", "speed"), "'--only': no check is called 'speed'; there are: consume, result"),
        (("--", "no-such-program"), "there is no program 'no-such-program'"),
        (("--junit", "no-such-folder/report.xml"), "report.xml cannot be written"),
        (("--junit", "."), "cannot be written"),
        (("--args", "{"), "no JSON"),
        (("--slow-args", "seconds"), "no JSON"),
        (
            ("--", "worker"),
            "there is no program 'worker', or it is not executable; did you mean ./worker?",
        ),
        (("--level", "4"), "'--level': expected a level from 1 to 3, got '4'; see broker-queue"),
        (("--level", "x"), "'--level': expected a level from 1 to 3, got 'x'; see broker-queue"),
        (
            ("--only", "cancel"),
            "did you mean 'cancel_running' or 'cancel_before' or 'canceled_in_h",
        ),
        (
            ("--only", "lease", "--level", "3"),
            "--only names no level: leave out --level, or --only",
        ),
        (("--port", "99999"), "'--port': expected a port from 0 to 65,535, got '99999'"),
        (("--patience", "soon"), "soon"),
    ],
)
def test_bad_usage_is_refused_before_anything_is_started(
    arguments: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def unexpected(**_: Any) -> None:
        raise AssertionError("a broker is looked for")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "worker").touch(mode=0o755)
    monkeypatch.setattr("broker_queue.local_broker.finding.find_broker", unexpected)
    monkeypatch.setattr(sys, "argv", ["broker-queue", *CONFORMANCE, *arguments])
    assert main() == 2
    assert words in capsys.readouterr().err
