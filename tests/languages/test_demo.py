"""``make languages`` as people run it: a process that shows its work and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.languages.fleet import COMMANDS
from tests.support.waiting import TIMEOUT_FACTOR

PROJECT = Path(__file__).parents[2]
PATIENCE = 90.0 * TIMEOUT_FACTOR


@pytest.fixture(scope="session", autouse=True)
def _toolchains() -> None:
    """All languages are here: the demo itself installs nothing."""
    for command in COMMANDS.values():
        command()


@asynccontextmanager
async def demo(
    url: str, folder: Path, *options: str, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the demo with a folder of its own for temporary files."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.languages", *options),
        cwd=PROJECT,
        env={**os.environ, "BROKER_QUEUE_URL": url, "TMPDIR": str(folder), **environment},
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


def assert_nothing_is_left(folder: Path) -> None:
    listed = subprocess.run(
        ["ps", "eww", "-eo", "args"], capture_output=True, text=True, check=True
    )
    assert [line for line in listed.stdout.splitlines() if f"TMPDIR={folder}" in line] == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("victim", ["go", "shell"])  # of a level each
async def test_the_report_comes_although_a_worker_is_killed(
    broker_url: str, tmp_path: Path, victim: str
) -> None:
    async with demo(broker_url, tmp_path, "--kill", victim) as process:
        text = await finish(process)
    assert process.returncode == 0, text
    assert len(re.findall(r"\bkill -9: ", text)) == 1
    assert re.search(rf"pause +rehearsal\.{victim} .* finished +1 of 2 ", text)
    assert "characters in" in text
    assert "sentences, the longest" in text
    assert_nothing_is_left(tmp_path)


async def test_ctrl_c_stops_everything(broker_url: str, tmp_path: Path) -> None:
    async with demo(broker_url, tmp_path) as process:
        assert process.stdout is not None
        while b"pause       running" not in (line := await process.stdout.readline()):
            assert line, "the demo ended early"
        process.send_signal(signal.SIGINT)
        text = await finish(process)
    assert process.returncode == 130, text
    assert "Interrupted" in text
    assert "Traceback" not in text
    assert_nothing_is_left(tmp_path)


async def test_three_languages_are_enough_and_the_others_are_named(
    broker_url: str, tmp_path: Path
) -> None:
    programs, temporary = tmp_path / "bin", tmp_path / "temporary"
    programs.mkdir()
    temporary.mkdir()
    async with demo(broker_url, temporary, PATH=str(programs)) as process:
        text = await finish(process)
    assert process.returncode == 1, text
    assert "it needs Python and two languages more" in text
    for hint in ("https://go.dev", "https://nodejs.org", "apt-get install bash"):
        assert hint in text
    go = shutil.which("go")
    assert go is not None
    (programs / "go").symlink_to(go)
    async with demo(broker_url, temporary, PATH=str(programs)) as process:
        text = await finish(process)
    assert process.returncode == 0, text
    assert "workers in Python, Go, Ruby" in text
    assert "node is missing" in text
    assert "sentences, the longest" in text
    assert "words, most often" not in text
    assert_nothing_is_left(temporary)
