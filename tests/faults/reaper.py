"""Ends the lives of processes as they are planned, and begins new ones."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.faults import database, plan
from tests.faults.plan import SCHEDULERS, Kill, Victim
from tests.faults.processes import ANYWHERE, Broker, EndedByItself, Process

LOOK = 0.1
"""Seconds between looks at what is waited for."""

MAX_PROBLEMS = 10
"""Processes that ended by themselves, after which there is no more to find out."""

STANDBY = "standby"


class Reaper:
    """Kills the processes of a run, each again and again.

    Args:
        seed: of what is killed when.
        processes: they are killed, also if they run already.
        broker: of all of them.
        path: of the database.
        log: a line is written there for each kill.
    """

    def __init__(
        self,
        seed: int,
        processes: Mapping[Victim, Process],
        broker: Broker,
        path: Path,
        log: Path,
    ) -> None:
        self._seed = seed
        self._processes = processes
        self._broker = broker
        self._database = path
        self._log = log
        self._killing = True
        self.kills: Counter[tuple[str, str]] = Counter()
        """Process, place → how often."""
        self.seconds = 0.0
        """From the first kill to the last."""
        self.problems: list[str] = []
        """Processes that ended by themselves, as sentences."""

    async def run(self, kills: int, seconds: float | None, *, broker_dies: bool) -> None:
        """Kill until there were enough kills, or the time is up; then all run, unharmed."""
        for process in self._processes.values():
            await process.kill()  # they were started without a point to die at
        loop = asyncio.get_running_loop()
        begun = loop.time()
        tasks = [
            asyncio.create_task(self._reap(victim, process), name=f"reaper of {victim}")
            for victim, process in self._processes.items()
        ]
        if broker_dies:
            tasks.append(asyncio.create_task(self._reap_broker(), name="reaper of the broker"))
        try:
            async with asyncio.timeout(seconds):
                await self._until_killed_enough(kills, tasks)
        except TimeoutError:
            pass
        self._killing = False
        await asyncio.gather(*tasks)
        self.seconds = loop.time() - begun

    async def _until_killed_enough(self, kills: int, tasks: list[asyncio.Task[None]]) -> None:
        while self.kills.total() < kills and len(self.problems) <= MAX_PROBLEMS:
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(LOOK)

    async def _reap(self, victim: Victim, process: Process) -> None:
        for kill in plan.kills(self._seed, victim):
            await self._broker.is_up.wait()
            if not self._killing:
                break
            await process.start(kill)
            try:
                await self._live(victim, process, kill)
            except EndedByItself as error:
                self.problems.append(str(error))
        await process.start()

    async def _live(self, victim: Victim, process: Process, kill: Kill) -> None:
        """Return once this life has ended as planned.

        Raises:
            EndedByItself: it ended in another way.
        """
        if victim in SCHEDULERS and not kill.as_standby:
            await self._until_it_leads(process)
        where = await process.die(kill)
        is_standby = victim in SCHEDULERS and where == ANYWHERE and not self._leads(process)
        self._note_kill(STANDBY if is_standby else victim.kind, where)

    async def _until_it_leads(self, process: Process) -> None:
        while self._killing and process.is_alive and not self._leads(process):  # noqa: ASYNC110  # it is another process
            await asyncio.sleep(LOOK)

    def _leads(self, process: Process) -> bool:
        return database.leader(self._database) == process.pid

    async def _reap_broker(self) -> None:
        for seconds in plan.broker_pauses(self._seed):
            waited = 0.0
            while self._killing and waited < seconds:
                await asyncio.sleep(LOOK)
                waited += LOOK
            if not self._killing:
                return
            await self._broker.crash()
            self._note_kill(Victim.BROKER, ANYWHERE)

    def _note_kill(self, kind: str, where: str) -> None:
        self.kills[kind, where] += 1
        with self._log.open("a") as log:
            log.write(f"{time.time_ns() // 1_000_000} {kind}: {where}\n")
