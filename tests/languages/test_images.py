"""What docker-compose.yml names exists; no image is built here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker_queue.address import URL_VARIABLE
from broker_queue.cli.app import make_app
from broker_queue.cli.graph_file import read_graph
from examples.languages.workers import LANGUAGES

ROOT = Path(__file__).parents[2]
COMPOSED = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSED["services"]
BUILT = {name: service for name, service in SERVICES.items() if "build" in service}
WORKERS = {f"worker-{language.name}" for language in LANGUAGES}


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with what follows each, on one line."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(first, rest) for first, _, rest in (line.partition(" ") for line in lines) if first]


def copied(dockerfile: Path) -> list[str]:
    """Return what a Dockerfile copies out of its context."""
    found = []
    for name, rest in instructions(dockerfile):
        words = shlex.split(rest)
        if name == "COPY" and not words[0].startswith("--from"):
            found += words[:-1]
    return found


def test_each_language_has_a_service_of_its_own() -> None:
    assert {name for name in SERVICES if name.startswith("worker-")} == WORKERS
    for name in WORKERS:
        assert SERVICES[name]["build"] == f"examples/workers/{name.removeprefix('worker-')}"


@pytest.mark.parametrize("name", BUILT)
def test_an_image_copies_what_is_there_and_runs_as_nobody_special(name: str) -> None:
    context = ROOT / BUILT[name]["build"]
    dockerfile = context / "Dockerfile"
    assert [pattern for pattern in copied(dockerfile) if not list(context.glob(pattern))] == []
    last = dict(instructions(dockerfile))
    assert last["USER"] not in {"root", "0"}
    assert {"CMD", "ENTRYPOINT"} & set(last)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_depends_on_services_and_mounts_what_is_there(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        assert source in COMPOSED["volumes"] or (ROOT / source).is_file()


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"rabbitmq"}))
def test_everybody_speaks_to_the_broker_that_is_started(name: str) -> None:
    broker = SERVICES["rabbitmq"]["environment"]
    user, password = broker["RABBITMQ_DEFAULT_USER"], broker["RABBITMQ_DEFAULT_PASS"]
    assert SERVICES[name]["environment"] == {
        URL_VARIABLE: f"amqp://{user}:{password}@rabbitmq:5672"
    }


def test_our_commands_exist_and_their_files_are_in_our_image() -> None:
    commands = {info.name or "" for info in make_app().registered_commands}
    ignored = (ROOT / ".dockerignore").read_text()
    for service in SERVICES.values():
        words = shlex.join(service.get("command", []))
        assert set(re.findall(r"broker-queue['\"]? ['\"]?([a-z]+)", words)) <= commands
        for path in re.findall(r"examples/\S+", words):
            assert (ROOT / path).is_file()
            assert "!examples\n" in ignored


def test_the_graph_needs_no_worker_that_is_not_started() -> None:
    graph = read_graph((ROOT / "examples/languages/graph.yaml").read_text(), "graph.yaml")
    types = {kind for each in LANGUAGES for kind in (*each.types, each.rehearsal)}
    assert {job.type for job in graph.jobs} <= types
    [mounted] = SERVICES["worker-python"]["volumes"]
    [workdir] = [
        rest
        for name, rest in instructions(ROOT / "examples/workers/python/Dockerfile")
        if name == "WORKDIR"
    ]
    read = next(job for job in graph.jobs if job.name == "read")
    assert mounted.split(":")[1] == f"{workdir}/{yaml.safe_load(bytes(read.args))['path']}"
