"""Building a worker once for each state of its sources, outside of the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker_queue import BrokerQueueError

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "broker-queue/examples"

TIMEOUT = 600
TAIL = 15
"""Lines of what a failed step printed."""

GO_PATH = Path("/usr/share/gocode")
"""Where Debian has the sources of Go libraries; with them, no module proxy is asked."""

GO_LIBRARY = GO_PATH / "src/github.com/rabbitmq/amqp091-go"

JAVA_LIBRARIES = [
    Path("/usr/share/java") / f"{name}.jar"
    for name in (
        "amqp-client",
        "jackson-core",
        "jackson-databind",
        "jackson-annotations",
        "slf4j-api",
        "slf4j-nop",
    )
]
"""Where Debian has Java libraries; with them, no Maven repository is asked."""

NOT_SOURCES = {"__pycache__", "node_modules"}


class BuildFailed(BrokerQueueError):
    """A worker could not be built; the text has the step and the end of what it printed."""


def go_program(source: Path) -> Path:
    """Compile a program in Go."""
    with built(source) as (folder, done):
        program = folder / "program"
        if not done:
            _copy(source, folder)
            command = ["go", "build", "-o", str(program)]
            if GO_LIBRARY.exists():
                run([*command, "."], folder, GO111MODULE="off", GOPATH=str(GO_PATH))
            else:
                run([*command, "."], folder)
    return program


def java_class_path(source: Path) -> str:
    """Compile a program in Java, and return the class path with it and its libraries."""
    libraries = ":".join(map(str, JAVA_LIBRARIES))
    with built(source) as (folder, done):
        classes = folder / "classes"
        if not done:
            sources = [str(path) for path in sorted((source / "src").rglob("*.java"))]
            command = ["javac", "-Xlint:all", "-Werror", "--release", "17"]
            run([*command, "-d", str(classes), "-cp", libraries, *sources], folder)
    return f"{classes}:{libraries}"


def node_folder(source: Path) -> Path:
    """Copy a program in JavaScript, and install its modules beside it, where Node.js looks."""
    with built(source) as (folder, done):
        if not done:
            _copy(source, folder)
            run(["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    return folder


def python_packages(source: Path, python: str) -> Path:
    """Install what a program in Python requires into a folder, for its PYTHONPATH."""
    with built(source) as (folder, done):
        packages = folder / "packages"
        if not done:
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            requirements = str(source / "requirements.txt")
            run([*pip, "--target", str(packages), "--requirement", requirements], folder)
    return packages


@contextmanager
def built(source: Path) -> Iterator[tuple[Path, bool]]:
    """Give a folder for what is built, to one process at a time, and whether that is done.

    The folder belongs to this very state of the sources; it counts as done once the block ended well.
    """
    folder = CACHE / f"{source.parent.name}-{source.name}-{_digest(source)}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / ".done"
        yield folder, done.exists()
        done.touch()


def _copy(source: Path, folder: Path) -> None:
    ignore = shutil.ignore_patterns(*NOT_SOURCES)
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=ignore)


def _digest(source: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*")):
        if path.is_file() and NOT_SOURCES.isdisjoint(path.parts):
            digest.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def run(command: list[str], folder: Path, **environment: str) -> None:
    """Run one step.

    Raises:
        BuildFailed: it failed.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-TAIL:])
        raise BuildFailed(f"{' '.join(command)} failed:\n{last}")
