"""One soak: work steadily, measure, let it settle, look at what is left."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from broker_queue.client import JobQueue
from broker_queue.local_broker.node import PrivateNode
from tests.faults.processes import Process
from tests.soak.load import Tally, load
from tests.soak.memory import Memory, resident
from tests.soak.worker_process import PLANNED
from tests.support.raw import RawClient
from tests.support.schedulers import wait_until_it_answers
from tests.support.winding_down import wind_down

NAMESPACE = "soak"
CLIENTS = 8
SCHEDULER, WORKERS = "scheduler", ("worker 1", "worker 2")

SAMPLE = 1.0
"""Seconds between two looks at the memory."""

TOLD = 60.0
"""Seconds between two lines about it."""

SETTINGS = {
    "LEASE_AFTER": "0.5", "LEASE_DURATION": "5", "HELLO_INTERVAL": "2", "LOG_LEVEL": "warning",
    "DATABASE_CACHE": "2",
}  # fmt: skip
"""Leases and greetings come often; the page cache, which may grow up to its bound, is full soon."""


@dataclass(slots=True, kw_only=True)
class Soaked:
    """What came of a soak."""

    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    memory: dict[str, Memory] = field(default_factory=dict)
    database: int = 0
    """Bytes, at the end."""
    left: list[str] = field(default_factory=list)
    """What lies in queues that should be empty."""
    said: list[str] = field(default_factory=list)
    """Warnings, except of failures that were planned."""

    @property
    def problems(self) -> list[str]:
        """Everything that should not be."""
        grown = [
            f"{name} grew by {memory.growth:.1f} MiB"
            for name, memory in self.memory.items()
            if not memory.is_flat
        ]
        return [*self.tally.wrong, *grown, *self.left, *self.said]


async def soak(minutes: float, folder: Path, tell: Callable[[str], None]) -> Soaked:
    """Do all of it; the broker, the processes and the folder are its own."""
    node = PrivateNode(folder / "broker")
    await asyncio.to_thread(node.start)
    try:
        return await _Soak(node.url, folder, tell).run(minutes * 60)
    finally:
        await asyncio.to_thread(node.stop)


class _Soak:
    """The parts of a soak."""

    def __init__(self, url: str, folder: Path, tell: Callable[[str], None]) -> None:
        self._url = url
        self._folder = folder
        self._tell = tell
        self._database = folder / "jobs.sqlite3"
        given = {"URL": url, "NAMESPACE": NAMESPACE, "DATABASE": str(self._database), **SETTINGS}
        environment = {f"BROKER_QUEUE_{name}": value for name, value in given.items()}
        modules = {SCHEDULER: "tests.soak.scheduler_process"} | dict.fromkeys(
            WORKERS, "tests.soak.worker_process"
        )
        self._processes = {
            name: Process(name, [module], environment, self._log(name))
            for name, module in modules.items()
        }
        self._soaked = Soaked(memory={name: Memory() for name in self._processes})

    async def run(self, seconds: float) -> Soaked:
        try:
            await self._processes[SCHEDULER].start()
            await wait_until_it_answers(self._url, NAMESPACE)
            for name in WORKERS:
                await self._processes[name].start()
            async with JobQueue(self._url, namespace=NAMESPACE) as queue:
                await self._work(queue, seconds)
            await self._stop()
        finally:
            for process in self._processes.values():
                await process.kill()
        self._soaked.database = self._database.stat().st_size
        for name in self._processes:
            self._soaked.said += _unplanned(self._log(name))
        return self._soaked

    def _log(self, name: str) -> Path:
        return self._folder / f"{name.replace(' ', '-')}.log"

    async def _work(self, queue: JobQueue, seconds: float) -> None:
        begun = time.monotonic()
        ending = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                chance = random.Random(number)
                group.create_task(load(queue, chance, self._soaked.tally, ending))
            await self._measure(begun, seconds)
            ending.set()
        self._soaked.seconds = time.monotonic() - begun

    async def _measure(self, begun: float, seconds: float) -> None:
        told_at = begun
        while (now := time.monotonic()) < begun + seconds:
            for name, process in self._processes.items():
                self._soaked.memory[name].samples.append(resident(process.pid))
            if now >= told_at + TOLD:
                told_at = now
                self._tell(self._line(now - begun))
            await asyncio.sleep(SAMPLE)

    def _line(self, seconds: float) -> str:
        memory = ", ".join(
            f"{name} {each.samples[-1]:.1f} MiB" for name, each in self._soaked.memory.items()
        )
        return f"{seconds / 60:5.1f} min {self._soaked.tally.jobs:>9,} jobs  {memory}"

    async def _stop(self) -> None:
        """Stop everybody once nothing is left to do; see what lies in the queues."""
        async with RawClient(self._url, NAMESPACE) as raw:
            self._soaked.left = await wind_down(
                raw,
                [raw.names.job_queue("work")],
                lambda: self._stop_processes(*WORKERS),
                lambda: self._stop_processes(SCHEDULER),
            )

    async def _stop_processes(self, *names: str) -> None:
        for name in names:
            await self._processes[name].stop()


def _unplanned(log: Path) -> list[str]:
    lines = log.read_text(errors="replace").splitlines()
    return [f"{log.stem}: {line}" for line in lines if PLANNED not in line]
