"""What the figures were measured on: hardware, and versions of everything that took part."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from broker_queue.amqp.connection import Connection, Session


def hardware() -> dict[str, Any]:
    """Return what tells this machine from others."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    return {"Python": platform.python_version()} | {name: _version(name) for name in packages}


async def broker_version(url: str) -> str:
    """Return what the broker says that it is."""

    async def nothing(_session: Session) -> None:
        return None

    connection = Connection(url, name="version", setup=nothing)
    await connection.start(fail_fast=True)
    try:
        return (await connection.session()).server.removeprefix("RabbitMQ ")
    finally:
        await connection.close()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
