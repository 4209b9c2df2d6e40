"""The workers of `examples/workers`: what each needs, how it is built, how it is started."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker_queue import BrokerQueueError
from examples.languages import building

FOLDER = Path(__file__).parents[1] / "workers"


class Missing(BrokerQueueError):
    """What a worker needs is not here; the text says what, and how to get it."""


@dataclass(frozen=True)
class Command:
    """What starts a worker."""

    words: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Language:
    """A language that there is a worker in.

    Attributes:
        name: of its folder, and of its rehearsal job.
        title: for people.
        types: of jobs that its worker runs.
        build: returns what starts the worker, or raises `Missing` or `BuildFailed`.
    """

    name: str
    title: str
    types: tuple[str, ...]
    build: Callable[[], Command]

    @property
    def rehearsal(self) -> str:
        return f"rehearsal.{self.name}"


def _go() -> Command:
    _need(
        "go",
        "https://go.dev/dl, or apt-get install golang-go golang-github-rabbitmq-amqp091-go-dev",
    )
    return Command([str(building.go_program(FOLDER / "go"))])


def _node() -> Command:
    for program in ("node", "npm"):
        _need(program, "https://nodejs.org, or apt-get install nodejs npm")
    return Command(["node", str(building.node_folder(FOLDER / "node") / "main.js")])


def _shell() -> Command:
    for program in ("bash", "jq"):
        _need(program, f"apt-get install {program}")
    return Command(["bash", str(FOLDER / "shell/worker.bash")])


def _ruby() -> Command:
    found = {shutil.which("ruby"), "/usr/bin/ruby"}  # Debian's has Debian's libraries
    for ruby in sorted(each for each in found if each is not None and Path(each).exists()):
        if (
            subprocess.run([ruby, "-rbunny", "-e", ""], capture_output=True, check=False).returncode
            == 0
        ):
            return Command([ruby, str(FOLDER / "ruby/worker.rb")])
    raise Missing(
        "Ruby with bunny is missing: gem install bunny, or apt-get install ruby ruby-bunny"
    )


def _java() -> Command:
    packages = (
        "openjdk-17-jdk-headless librabbitmq-client-java libjackson2-databind-java libslf4j-java"
    )
    _need("javac", f"apt-get install {packages}")
    if missing := [str(path) for path in building.JAVA_LIBRARIES if not path.exists()]:
        raise Missing(f"{', '.join(missing)} are missing: apt-get install {packages}")
    class_path = building.java_class_path(FOLDER / "java")
    quickly = "-XX:TieredStopAtLevel=1"  # less to compile at the start, for what lives for seconds
    return Command(["java", quickly, "-cp", class_path, "worker.Main"])


def _python() -> Command:
    environment = {}
    if importlib.util.find_spec("pika") is None:
        packages = building.python_packages(FOLDER / "python", sys.executable)
        environment["PYTHONPATH"] = str(packages)
    words = [sys.executable, "-B", str(FOLDER / "python/worker.py")]  # -B: writes nothing there
    return Command(words, environment)


def _need(program: str, how: str) -> None:
    if shutil.which(program) is None:
        raise Missing(f"{program} is missing: {how}")


LANGUAGES = (
    Language("python", "Python", ("text.read", "text.report"), _python),
    Language("go", "Go", ("text.fingerprint",), _go),
    Language("node", "JavaScript", ("text.words",), _node),
    Language("shell", "bash", ("text.lines",), _shell),
    Language("ruby", "Ruby", ("text.sentences",), _ruby),
    Language("java", "Java", ("text.letters",), _java),
)

BY_NAME = {language.name: language for language in LANGUAGES}
