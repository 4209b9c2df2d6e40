"""What the examples in other languages need: found or installed, and built once for each state of their sources.

A toolchain that is missing and cannot be installed fails the test that needs it; nothing is skipped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from broker_queue.local_broker import debian

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "broker-queue/languages"

BUILD_TIMEOUT = 600

GO_PATH = Path("/usr/share/gocode")
"""Where Debian has the sources of Go libraries."""

GO = {
    "golang-go": "go",
    "golang-github-rabbitmq-amqp091-go-dev": f"{GO_PATH}/src/github.com/rabbitmq/amqp091-go",
}
NODE = {"nodejs": "node", "npm": "npm"}
SHELL = {"bash": "bash", "jq": "jq"}
RUBY = {"ruby": "/usr/bin/ruby", "ruby-bunny": "/var/lib/dpkg/info/ruby-bunny.list"}


class MissingToolchain(Exception):
    """A language cannot be tested here."""


def go_worker() -> list[str]:
    """Return the command of the worker in Go."""
    return [str(_go_program(EXAMPLES / "workers/go"))]


def go_client() -> list[str]:
    """Return the command of the client in Go."""
    return [str(_go_program(EXAMPLES / "clients/go"))]


def node_worker() -> list[str]:
    """Return the command of the worker in JavaScript."""
    return ["node", str(_node_folder(EXAMPLES / "workers/node") / "main.js")]


def node_client() -> list[str]:
    """Return the command of the client in JavaScript."""
    return ["node", str(_node_folder(EXAMPLES / "clients/node") / "main.js")]


def need(packages: Mapping[str, str]) -> None:
    """Install the Debian packages that are missing.

    Args:
        packages: by the name of each, a program (`jq`) or path (`/usr/share/…`) that comes with it.
            What is there already is used, wherever it came from.

    Raises:
        MissingToolchain: it cannot be installed, or does not bring what it should.
    """
    if not _missing(packages):
        return
    with debian.one_at_a_time():
        missing = _missing(packages)  # another process may have installed it meanwhile
        if not missing:
            return
        problem = debian.why_not() or debian.install(print, *missing)
        if problem is None and (still := _missing(packages)):
            problem = "installed, but without " + ", ".join(packages[each] for each in still)
    if problem is not None:
        raise MissingToolchain(f"Debian packages {', '.join(missing)}: {problem}")


@contextmanager
def built(source: Path) -> Iterator[tuple[Path, bool]]:
    """Give a folder for what is built from `source`, to one process at a time, and whether it is done.

    The folder belongs to this very state of the sources; it counts as done once the block ended well.
    """
    folder = CACHE / f"{source.parent.name}-{source.name}-{_digest(source)}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / ".done"
        yield folder, done.exists()
        done.touch()


def run(command: list[str], folder: Path, **environment: str) -> None:
    """Run one step of a build.

    Raises:
        MissingToolchain: it failed; with what it printed.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        raise MissingToolchain(f"{' '.join(command)} failed:\n{done.stdout}")


@cache
def _go_program(source: Path) -> Path:
    """Build against the library of the distribution, which needs no module proxy."""
    need(GO)
    with built(source) as (folder, done):
        program = folder / source.parent.name.removesuffix("s")
        if not done:
            run(
                ["go", "build", "-o", str(program), "."],
                source,
                GO111MODULE="off",
                GOPATH=str(GO_PATH),
            )
    return program


@cache
def _node_folder(source: Path) -> Path:
    """Copy the program and install its modules beside it, where Node.js looks for them."""
    need(NODE)
    with built(source) as (folder, done):
        if not done:
            shutil.copytree(source, folder, dirs_exist_ok=True, ignore=_node_modules)
            run(["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    return folder


_node_modules = shutil.ignore_patterns("node_modules")


def _missing(packages: Mapping[str, str]) -> list[str]:
    return [package for package, sign in packages.items() if not _is_there(sign)]


def _is_there(sign: str) -> bool:
    return Path(sign).exists() if "/" in sign else shutil.which(sign) is not None


def _digest(source: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*")):
        if path.is_file() and "node_modules" not in path.parts:
            digest.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def plain_python_worker() -> list[str]:
    """Return the command of the worker in Python; pika is among our own test dependencies."""
    return [sys.executable, "-B", str(EXAMPLES / "workers/python/worker.py")]


def ruby_worker() -> list[str]:
    """Return the command of the worker in Ruby."""
    need(RUBY)
    return [RUBY["ruby"], str(EXAMPLES / "workers/ruby/worker.rb")]


def shell_worker() -> list[str]:
    """Return the command of the worker in bash."""
    need(SHELL)
    return ["bash", str(EXAMPLES / "workers/shell/worker.bash")]
