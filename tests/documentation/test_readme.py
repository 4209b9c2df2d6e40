"""What the README shows is run; what the docs name exists."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from broker_queue.cli.app import make_app
from broker_queue.cli.graph_file import read_graph
from broker_queue.client import JobQueue
from tests.support.waiting import PATIENCE
from tests.support.workers import running

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("**/README.md")),
]


def block(language: str, containing: str) -> str:
    """The README's block of code that contains this text."""
    found = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(text for text in found if containing in text)


def module(name: str, source: str, folder: Path) -> ModuleType:
    """A module made of this text."""
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


async def test_the_client_and_the_worker_of_the_readme_work_together(
    queue: JobQueue,
    broker_url: str,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BROKER_QUEUE_URL", broker_url)
    monkeypatch.setenv("BROKER_QUEUE_NAMESPACE", namespace)
    jobs = module("jobs", block("python", "@worker.job()"), tmp_path)
    source = block("python", "asyncio.run(main())").replace("asyncio.run(main())", "")
    client = module("client", source, tmp_path)
    async with running(jobs.worker, broker_url, namespace):
        async with asyncio.timeout(2 * PATIENCE):
            await client.main()
    assert capsys.readouterr().out == "built from /data/data.csv\n"


def test_the_graph_file_of_the_readme_is_one() -> None:
    text = block("yaml", "name: nightly")
    assert yaml.safe_load(text)["name"] == "nightly"
    graph = read_graph(text, "nightly.yaml")
    assert len(graph.jobs) == 3


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for path in DOCS
        for name in re.findall(r"(?:^|`|\$ )make ([a-z-]+)", path.read_text(), re.MULTILINE)
    }
    assert named <= targets


def test_every_link_inside_the_project_leads_somewhere() -> None:
    for path in DOCS:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_every_link_inside_a_page_leads_to_a_heading() -> None:
    for path in DOCS:
        text = path.read_text()
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        anchors = [
            re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
        ]
        for link in re.findall(r"\]\(#([^)]+)\)", text):
            assert link in anchors, f"{path.name}: {link}"


def test_every_variable_of_the_environment_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    sources = [*(ROOT / "broker_queue").rglob("*.py"), *(ROOT / "scheduler").rglob("*.py")]
    named = {
        name
        for path in sources
        for name in re.findall(r"\bBROKER_QUEUE_[A-Z]+\b", path.read_text())
        if f"_{name}" not in path.read_text()  # the shell's, for completion
    }
    assert {"BROKER_QUEUE_TIMEOUT", "BROKER_QUEUE_URL"} <= named
    assert [name for name in named if f"`{name}`" not in page] == []


def test_every_command_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    names = [info.name for info in make_app().registered_commands]
    assert len(names) > 10
    assert [name for name in names if f"`{name}" not in page] == []
