"""What the examples in other languages need: Debian packages, which are installed if they are missing.

A toolchain that is missing and cannot be installed fails the test that needs it; nothing is skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from broker_queue.local_broker import debian
from examples.languages import building
from examples.languages.workers import BY_NAME

CLIENTS = Path(__file__).resolve().parents[2] / "examples/clients"
RPC_TUTORIAL = Path(__file__).resolve().parent / "rpc_tutorial"

GO = {
    "golang-go": "go",
    "golang-github-rabbitmq-amqp091-go-dev": str(building.GO_LIBRARY),
}
NODE = {"nodejs": "node", "npm": "npm"}
SHELL = {"bash": "bash", "jq": "jq"}
RUBY = {"ruby": "/usr/bin/ruby", "ruby-bunny": "/var/lib/dpkg/info/ruby-bunny.list"}

JAVA = {
    "openjdk-17-jdk-headless": "javac",
    "librabbitmq-client-java": "/usr/share/java/amqp-client.jar",
    "libjackson2-databind-java": "/usr/share/java/jackson-databind.jar",
    "libslf4j-java": "/usr/share/java/slf4j-nop.jar",
}


class MissingToolchain(Exception):
    """A language cannot be tested here."""


def go_worker() -> list[str]:
    """Return the command of the worker in Go."""
    need(GO)
    return BY_NAME["go"].build().words


def go_client() -> list[str]:
    """Return the command of the client in Go."""
    need(GO)
    return [str(building.go_program(CLIENTS / "go"))]


def go_rpc_server() -> list[str]:
    """Return the command of the RPC tutorial's server in Go."""
    need(GO)
    return [str(building.go_program(RPC_TUTORIAL / "go"))]


def node_worker() -> list[str]:
    """Return the command of the worker in JavaScript."""
    need(NODE)
    return BY_NAME["node"].build().words


def node_client() -> list[str]:
    """Return the command of the client in JavaScript."""
    need(NODE)
    return ["node", str(building.node_folder(CLIENTS / "node") / "main.js")]


def node_rpc_server() -> list[str]:
    """Return the command of the RPC tutorial's server in JavaScript."""
    need(NODE)
    return ["node", str(building.node_folder(RPC_TUTORIAL / "node") / "server.js")]


def plain_python_worker() -> list[str]:
    """Return the command of the worker in Python; pika is among our own test dependencies."""
    return BY_NAME["python"].build().words


def ruby_worker() -> list[str]:
    """Return the command of the worker in Ruby."""
    need(RUBY)
    return BY_NAME["ruby"].build().words


def ruby_rpc_server() -> list[str]:
    """Return the command of the RPC tutorial's server in Ruby."""
    need(RUBY)
    return [RUBY["ruby"], str(RPC_TUTORIAL / "ruby/server.rb")]


def java_worker() -> list[str]:
    """Return the command of the worker in Java."""
    need(JAVA)
    return BY_NAME["java"].build().words


def java_rpc_server() -> list[str]:
    """Return the command of the RPC tutorial's server in Java, which is compiled as it starts."""
    need(JAVA)
    class_path = ":".join(map(str, building.JAVA_LIBRARIES))
    return ["java", "-cp", class_path, str(RPC_TUTORIAL / "java/RPCServer.java")]


def shell_worker() -> list[str]:
    """Return the command of the worker in bash."""
    need(SHELL)
    return BY_NAME["shell"].build().words


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


def _missing(packages: Mapping[str, str]) -> list[str]:
    return [package for package, sign in packages.items() if not _is_there(sign)]


def _is_there(sign: str) -> bool:
    return Path(sign).exists() if "/" in sign else shutil.which(sign) is not None
