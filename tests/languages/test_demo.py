"""``make languages`` as people run it: a process that shows its work and leaves nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.languages.fleet import COMMANDS
from tests.support.demos import (
    assert_it_is_interrupted,
    assert_nothing_is_left,
    demo,
    finish,
    read_until,
)

DEMO = "examples.languages"


@pytest.fixture(scope="session", autouse=True)
def _toolchains() -> None:
    """All languages are here: the demo itself installs nothing."""
    for command in COMMANDS.values():
        command()


@pytest.mark.parametrize("victim", ["go", "shell"])  # of a level each
async def test_the_report_comes_although_a_worker_is_killed(
    broker_url: str, tmp_path: Path, victim: str
) -> None:
    async with demo(DEMO, "--kill", victim, url=broker_url, temporary=tmp_path) as process:
        text = await finish(process)
    assert process.returncode == 0, text
    assert len(re.findall(r"\bkill -9: ", text)) == 1
    assert re.search(rf"pause +rehearsal\.{victim} .* finished +1 of 2 ", text)
    assert "characters in" in text
    assert "sentences, the longest" in text
    assert_nothing_is_left(tmp_path)


async def test_ctrl_c_stops_everything(broker_url: str, tmp_path: Path) -> None:
    async with demo(DEMO, url=broker_url, temporary=tmp_path) as process:
        await read_until(process, "pause       running")
        await assert_it_is_interrupted(process)
    assert_nothing_is_left(tmp_path)


async def test_three_languages_are_enough_and_the_others_are_named(
    broker_url: str, tmp_path: Path
) -> None:
    programs, temporary = tmp_path / "bin", tmp_path / "temporary"
    programs.mkdir()
    temporary.mkdir()
    async with demo(DEMO, url=broker_url, temporary=temporary, PATH=str(programs)) as process:
        text = await finish(process)
    assert process.returncode == 1, text
    assert "it needs Python and two languages more" in text
    for hint in ("https://go.dev", "https://nodejs.org", "apt-get install bash"):
        assert hint in text
    go = shutil.which("go")
    assert go is not None
    (programs / "go").symlink_to(go)
    async with demo(DEMO, url=broker_url, temporary=temporary, PATH=str(programs)) as process:
        text = await finish(process)
    assert process.returncode == 0, text
    assert "workers in Python, Go, Ruby" in text
    assert "node is missing" in text
    assert "sentences, the longest" in text
    assert "words, most often" not in text
    assert_nothing_is_left(temporary)
