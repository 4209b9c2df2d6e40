"""The process that starts the programs of a worker, and ends them when the worker is gone.

A worker that is killed can end nothing any more. So the programs are children of this small process,
which hears requests on a socket (its standard input) and writes answers, one JSON object a line, to
its standard output. When the socket ends, so do the programs. It needs nothing but Python's standard
library.

Each program is the leader of a session. What it leaves behind there is ended with it: process groups
would not do, since ``timeout`` and shells with job control make new ones.

Requests: ``{"start": number, "environment": {…}}``, with the program's stdin, stdout and stderr
attached; ``{"stop": number}``. Answers: ``{"started": number, "pid": pid}``, or
``{"refused": number, "why": text}``; ``{"ended": number, "code": code}`` when the program itself has
ended; ``{"gone": number}`` when nothing of its session is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

KILL_AFTER = 5.0
"""Seconds from SIGTERM to SIGKILL."""

GIVE_UP_AFTER = 2.0
"""Seconds from there, after which a process is left alone that not even SIGKILL has ended."""

LOOK_AGAIN = 0.05
"""Seconds, while something is being ended."""

PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Running:
    """A program, and what it has started."""

    process: subprocess.Popen[bytes]
    kill_at: float | None = None
    """When it was told to end, plus `KILL_AFTER`."""

    @property
    def has_ended(self) -> bool:
        """Whether the program itself has ended."""
        return self.process.returncode is not None

    def terminate(self) -> None:
        """Tell all of it to end; what does not is killed later."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + KILL_AFTER
            _signal_all(members(self.process.pid), signal.SIGTERM)

    def look(self, now: float) -> bool:
        """Do what is due; return whether nothing is left."""
        if self.kill_at is None:
            return False
        if self.has_ended and not members(self.process.pid):
            return True
        if now >= self.kill_at:
            kill_session(self.process.pid)
        return self.has_ended and now >= self.kill_at + GIVE_UP_AFTER


class Parent:
    """Starts `command` for each request, until the socket ends and nothing runs any more."""

    def __init__(self, command: list[str], requests: socket.socket) -> None:
        self._command = command
        self._requests = requests
        self._running: dict[int, Running] = {}
        self._received = b""
        self._descriptors: list[int] = []
        self._hears = True
        self._woken, self._waker = socket.socketpair()

    def run(self) -> None:
        """Serve."""
        for end in (self._woken, self._waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _nothing)  # a function and not SIG_IGN, which programs inherit
        while self._hears or self._running:
            self._wait()
            self._reap()
            self._look()

    def _wait(self) -> None:
        ends = any(each.kill_at is not None for each in self._running.values())
        sources = [self._woken, *([self._requests] if self._hears else [])]
        ready, _, _ = select.select(sources, [], [], LOOK_AGAIN if ends else None)
        if self._woken in ready:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)
        if self._requests in ready:
            self._hear()

    def _hear(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._requests, 1 << 16, 3)
        except ConnectionError:
            data, descriptors = b"", []
        self._descriptors += descriptors
        if not data:
            self._hears = False
            for running in self._running.values():
                running.terminate()
        *requests, self._received = (self._received + data).split(b"\n")
        for request in requests:
            self._obey(json.loads(request))

    def _obey(self, request: dict[str, Any]) -> None:
        if "start" in request:
            streams = [self._descriptors.pop(0) for _ in range(3)]
            self._start(request["start"], request["environment"], *streams)
        elif request["stop"] in self._running:
            self._running[request["stop"]].terminate()

    def _start(
        self, number: int, changes: dict[str, str | None], stdin: int, stdout: int, stderr: int
    ) -> None:
        environment = {**os.environ, **changes}
        try:
            process = subprocess.Popen(  # noqa: S603  # as we were told
                self._command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env={name: value for name, value in environment.items() if value is not None},
                start_new_session=True,
            )
            self._running[number] = Running(process)
            self._answer({"started": number, "pid": process.pid})
        except (OSError, ValueError) as error:
            self._answer({"refused": number, "why": getattr(error, "strerror", None) or str(error)})
        finally:
            for descriptor in (stdin, stdout, stderr):
                os.close(descriptor)

    def _reap(self) -> None:
        """Take note of all children that have ended, also those that programs left to us."""
        by_pid = {each.process.pid: (number, each) for number, each in self._running.items()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in by_pid:
                number, running = by_pid[pid]
                running.process.returncode = os.waitstatus_to_exitcode(status)
                self._answer({"ended": number, "code": running.process.returncode})
                running.terminate()

    def _look(self) -> None:
        now = time.monotonic()
        for number, running in list(self._running.items()):
            if running.look(now):
                del self._running[number]
                self._answer({"gone": number})

    def _answer(self, answer: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the worker is gone
            os.write(1, json.dumps(answer).encode() + b"\n")


def members(session: int) -> set[int]:
    """Return the processes of a session that are alive."""
    return {pid for pid in _processes() if _session(pid) == session and not _is_zombie(pid)}


def kill_session(session: int) -> None:
    """Kill all processes of a session, also what is being forked meanwhile."""
    killed: set[int] = set()
    while new := members(session) - killed:
        killed |= new
        _signal_all(new, signal.SIGKILL)


def _nothing(*_: object) -> None:
    pass


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208  # often
    except OSError:  # not Linux
        found = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, check=False)  # noqa: S607  # where it is differs
        return [int(pid) for pid in found.stdout.split()]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:  # it has just ended
        return None


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123  # pathlib is slow to import
            return stat.read().rpartition(b")")[2].split()[0] in {b"Z", b"X"}
    except OSError:
        return False


def _signal_all(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or of another user
            os.kill(pid, number)


def _adopt_orphans() -> None:
    """Become the parent of what programs leave behind, as in a container nobody else may be.

    Elsewhere than on Linux the system's first process is.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


if __name__ == "__main__":
    _adopt_orphans()
    Parent(json.loads(sys.argv[1]), socket.socket(fileno=0)).run()
