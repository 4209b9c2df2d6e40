"""A private Redis, for the results of the peers that keep them there."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from broker_queue.local_broker import debian
from broker_queue.local_broker.guard import guarded

PACKAGE = "redis-server"
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


class RedisError(Exception):
    """It is not installed, or did not start."""


class PrivateRedis:
    """A server on 127.0.0.1 with a folder and a port of its own, which keeps nothing on disk."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="broker-queue-redis-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        """Of what guards it, whose child it is."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        server = shutil.which(PACKAGE)
        if server is None:
            raise RedisError(f"no {PACKAGE} is installed")
        settings = {
            "bind": "127.0.0.1",
            "port": str(self._port),
            "dir": str(self._folder),
            "save": "",
            "appendonly": "no",
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            guarded([server, *arguments], remove=self._folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._answers():
                return self
            time.sleep(0.05)
        self._stop()
        raise RedisError("the private Redis did not start")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _answers(self) -> bool:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self._port), 1.0) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
        return False

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_TIMEOUT)
        shutil.rmtree(self._folder, ignore_errors=True)


def main() -> int:
    """Install the server where it is missing and can be installed; return the exit code."""
    if shutil.which(PACKAGE) is not None:
        return 0
    problem = debian.why_not() or debian.install(print, PACKAGE)
    if problem is not None:
        print(f"no Redis for the peers that need one: {problem}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
