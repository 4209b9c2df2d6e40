"""Parts one after the other, each in a process of its own, within a time for each and for all."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.contenders.contender import Place
from benchmarks.processes import ROOT
from benchmarks.scale.parts import PARTS
from broker_queue.local_broker.guard import guarded

LINE_LIMIT = 1 << 24
"""Bytes of one answer."""

PATIENCE = 20.0
"""Seconds for a process and all that it started to end; then it is told again, in harsher words."""

Found = dict[str, Any]
"""What came of a part: its rows, and why some are missing."""

Command = Callable[[str, float], Sequence[str]]


def command_of(name: str, scale: float) -> list[str]:
    return [sys.executable, "-m", "benchmarks.scale.part", name, str(scale)]


class Running:
    """Parts, as long as there is time.

    Args:
        scale: share of the jobs.
        seconds: for all parts together.
        broker: its URL; empty starts a private one for each part.
        tell: is called with each line for people.
        command: returns what measures a part.
    """

    def __init__(
        self,
        *,
        scale: float,
        seconds: float,
        broker: str = "",
        tell: Callable[[str], None],
        command: Command = command_of,
    ) -> None:
        self._scale = scale
        self._deadline = time.monotonic() + seconds
        self._broker = broker
        self._tell = tell
        self._command = command

    async def run(self, name: str) -> Found:
        """Return what came of a part."""
        begun = time.monotonic()
        found: Found = {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "scale": self._scale,
            "rows": [],
        }
        folder = Path(tempfile.mkdtemp(prefix="broker-queue-scale-"))
        try:
            problem = self._too_little(name, folder) or await self._measure(name, folder, found)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        found["seconds"] = round(time.monotonic() - begun, 1)
        if problem is not None:
            found["void"] = problem
            self._tell(f"{name}: {problem}")
        return found

    def _too_little(self, name: str, folder: Path) -> str | None:
        needed = PARTS[name].disk * self._scale
        free = shutil.disk_usage(folder).free / 1e6
        if free < needed:
            return f"{folder.parent} has {free:,.0f} MB left, and this needs {needed:,.0f}"
        if time.monotonic() >= self._deadline:
            return "no time was left"
        return None

    async def _measure(self, name: str, folder: Path, found: Found) -> str | None:
        """Fill in the rows; return why some are missing, or None if all are there."""
        left = self._deadline - time.monotonic()
        bound = min(PARTS[name].bound, left)
        place = Place(broker=self._broker, folder=str(folder), namespace=f"scale-{uuid4().hex[:8]}")
        log = folder / "part.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *guarded(self._command(name, self._scale), remove=folder),
                cwd=ROOT,
                env=os.environ | place.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=LINE_LIMIT,
            )
        try:
            async with asyncio.timeout(bound):
                await self._read(name, process, found)
                code = await process.wait()
        except TimeoutError:
            return f"more than {bound:.0f} s"
        finally:
            await _end(process)
        if code:
            return f"its process ended with code {code}: {_last_line(log)}"
        if len(found["rows"]) == 0:
            return "no answer"
        return None

    async def _read(self, name: str, process: asyncio.subprocess.Process, found: Found) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            for kind, content in json.loads(line).items():
                match kind:
                    case "row":
                        found["rows"].append(content)
                        self._tell(f"{name}: {_short(content)}")
                    case "say":
                        self._tell(f"{name}: {content} …")
                    case _:
                        found[kind] = content


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it, and with it all that it started; at the third time it is killed."""
    for _ in range(3):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await process.wait()


def _last_line(log: Path) -> str:
    with suppress(OSError):
        lines = log.read_text(errors="replace").splitlines()
        return lines[-1][:200] if lines else ""
    return ""


def _short(row: dict[str, Any]) -> str:
    shown = {name: value for name, value in row.items() if not isinstance(value, dict)}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
