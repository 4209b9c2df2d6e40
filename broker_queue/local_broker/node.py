"""A private RabbitMQ node from the installed server: own folder, own ports, no root.

Nothing of the system's own node is touched or read: its configuration, data, cookie and epmd are
others. The node listens on 127.0.0.1 only and ends with the process that started it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from broker_queue.errors import BrokerQueueError
from broker_queue.local_broker.guard import guarded
from broker_queue.local_broker.handshake import wait_until_it_answers

SERVER_PATHS = (
    Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),  # Debian; the one in /usr/sbin insists on a user
    Path("/usr/local/sbin/rabbitmq-server"),
    Path("/opt/homebrew/sbin/rabbitmq-server"),
    Path("/opt/rabbitmq/sbin/rabbitmq-server"),
)

START_TIMEOUT = 90.0
"""Seconds; a small machine under load takes some twenty."""

STOP_TIMEOUT = 20.0

SHOWN_OF_LOG = 12
"""Lines that tell why it did not start."""

CONFIGURATION = {
    "raft.wal_max_size_bytes": "33554432",  # the default reserves half a gigabyte
    "disk_free_limit.absolute": "50MB",
    "vm_memory_high_watermark.relative": "0.5",
    "log.file.level": "warning",
    "log.console": "false",
    "loopback_users.guest": "true",
}

ERLANG_ARGUMENTS = (
    "+S 2:2 +sbwt very_short +sbwtdcpu none +sbwtdio very_short"
    " -kernel inet_dist_use_interface {127,0,0,1}"
)
"""Two schedulers that hardly spin while idle: the node shares the machine with the work. Not at all
would double the time to start, in which they hand thousands of file operations to each other.
Erlang's own port, which RabbitMQ's command-line tools use, would listen on every address."""

NODE_NAME = "broker-queue@localhost"
"""The same at each start: data lie under the node's name. Its epmd, which knows names, is its own."""


class NodeError(BrokerQueueError):
    """The private node did not start; the text has the end of its log."""


def installed_server() -> Path | None:
    """Return the path of the installed server's script, or None."""
    found = next((path for path in SERVER_PATHS if path.exists()), None)
    if found is None and (name := shutil.which("rabbitmq-server")) is not None:
        found = Path(name)
    return found


class PrivateNode:
    """A RabbitMQ node of our own.

    Args:
        folder: keeps its data; a temporary one, removed at the end, when left out.
        management: with the management plugin, at `management_url`.
        configuration: of ``rabbitmq.conf``, beyond `CONFIGURATION`.
        environment: of the application ``rabbit``, for what has no place in ``rabbitmq.conf``.

    Raises:
        NodeError: no server is installed.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        management: bool = False,
        configuration: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        server = installed_server()
        if server is None:
            raise NodeError("no rabbitmq-server is installed")
        self.server = server
        self._is_temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="broker-queue-rabbitmq-"))
        self._management = management
        self._configuration = CONFIGURATION | dict(configuration or {})
        self._erlang_arguments = ERLANG_ARGUMENTS + "".join(
            f" -rabbit {name} {value}" for name, value in (environment or {}).items()
        )
        self._process: subprocess.Popen[bytes] | None = None
        ports = _ports(self.folder / "ports.json", 4)
        self._port, self._distribution_port, self._epmd_port, self._management_port = ports

    @property
    def url(self) -> str:
        """The AMQP URL."""
        return f"amqp://guest:guest@127.0.0.1:{self._port}"

    @property
    def management_url(self) -> str | None:
        """The management page, if it was asked for; user and password are guest."""
        return f"http://127.0.0.1:{self._management_port}/" if self._management else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the Erlang machine.

        Raises:
            NodeError: it does not run.
        """
        with suppress(OSError, ValueError):
            return int((self.folder / "pid").read_text())
        raise NodeError("the private node does not run")

    def start(self) -> None:
        """Start it and wait until it answers; on the same folder its queues are back.

        Raises:
            NodeError: it did not come up.
        """
        self._write_configuration()
        (self.folder / "pid").unlink(missing_ok=True)
        with (self.folder / "console.log").open("wb") as console:
            self._process = subprocess.Popen(  # noqa: S603  # the installed server
                guarded(
                    [str(self.server)],
                    afterwards=self._stop_epmd(),
                    remove=self.folder if self._is_temporary else None,
                ),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        problem = wait_until_it_answers(self.url, START_TIMEOUT, lambda: self.is_running)
        if problem is not None:
            log = self._log_excerpt()
            self.kill()
            raise NodeError(f"the private RabbitMQ node did not start: {problem}\n{log}")

    def stop(self) -> None:
        """Stop it in order; what is durable stays in the folder."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process = process
                self.kill()

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        with suppress(NodeError, ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        process, self._process = self._process, None
        if process is not None:
            process.terminate()  # a node that was still starting had no process id
            process.wait(STOP_TIMEOUT)

    def _log_excerpt(self) -> str:
        """Return the first errors that it logged, or the end of its log if there are none."""
        texts = []
        for path in (*sorted(self.folder.glob("log/*.log")), self.folder / "console.log"):
            with suppress(OSError):
                texts += path.read_text(errors="replace").splitlines()
        errors = [text for text in texts if "[error]" in text]
        return "\n".join(errors[:SHOWN_OF_LOG] or texts[-SHOWN_OF_LOG:])

    def __enter__(self) -> PrivateNode:
        try:
            self.start()
        except BaseException:
            self.stop()  # Ctrl-C comes while the node and its epmd are still starting
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_temporary:  # nothing of it is needed again
            self.kill()
        else:
            self.stop()
        self._remove()

    def _remove(self) -> None:
        if self._is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write_configuration(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = dict(self._configuration)
        if self._management:
            lines["management.tcp.ip"] = "127.0.0.1"
            lines["management.tcp.port"] = str(self._management_port)
        text = "".join(f"{key} = {value}\n" for key, value in lines.items())
        (self.folder / "rabbitmq.conf").write_text(text)
        plugins = "[rabbitmq_management]." if self._management else "[]."
        (self.folder / "enabled_plugins").write_text(plugins + "\n")

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the server and of the commands that speak to it."""
        folder = self.folder
        return {
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(folder),  # the Erlang cookie is made there
            "RABBITMQ_NODENAME": NODE_NAME,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such-file"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "no-such-file.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": self._erlang_arguments,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "true",  # lets it be stopped
            "ERL_CRASH_DUMP_BYTES": "0",
        }

    def _stop_epmd(self) -> list[str]:
        """Return the command that stops the name service, which outlives the node that started it."""
        epmd = shutil.which("epmd", path=self.environment["PATH"])
        return [] if epmd is None else [epmd, "-port", str(self._epmd_port), "-kill"]


def _ports(file: Path, count: int) -> list[int]:
    """Return free ports: those of the last start on the same folder, if they are still free."""
    with suppress(OSError, ValueError):
        ports = json.loads(file.read_text())
        if len(ports) == count and all(map(_is_free, ports)):
            return list(ports)
    ports = _free_ports(count)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(ports))
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, all held at once so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
