"""RabbitMQ from the distribution's packages, on Debian and Ubuntu as root.

The package would start a system node; a policy says no while it is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")
"""Asked by every package that wants to start a service; exit code 101 forbids it."""

LOCK = Path("/run/broker-queue-install.lock")

INSTALL_TIMEOUT = 600

WAIT = ("-o", "DPkg::Lock::Timeout=300")
"""Seconds that apt waits for others who install something."""

SERVER = "rabbitmq-server"


def why_not() -> str | None:
    """Return why the package cannot be installed here, or None if it can."""
    if shutil.which("apt-get") is None:
        return "this is no Debian or Ubuntu"
    if os.geteuid() != 0:
        return "installing a package needs root"
    return None


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other process of ours installs: what it unpacked so far cannot be used yet."""
    if why_not() is not None:
        yield
        return
    import fcntl  # Windows has none

    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install(progress: Callable[[str], None], *packages: str) -> str | None:
    """Install packages, RabbitMQ's unless others are named; return what went wrong, or None.

    No service that comes with them is started.
    """
    wanted = packages or (SERVER,)
    names = " and ".join(wanted)
    progress(f"installing {names} from the distribution's packages (about a minute, once)")
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *WAIT, *wanted]
    with _no_services_started():
        if _run(["apt-get", "update", "-q"]) is not None:
            progress("the package lists could not be updated; trying with the old ones")
        return _run(command)


def _run(command: list[str]) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  # fixed commands
            command,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{' '.join(command[:2])}: {error}"
    if done.returncode == 0:
        return None
    last = (done.stderr or done.stdout).strip().splitlines()[-3:]
    return f"{' '.join(command[:2])} failed: {' / '.join(last)}"


@contextmanager
def _no_services_started() -> Iterator[None]:
    if POLICY.exists():  # somebody decided already
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            POLICY.unlink()
