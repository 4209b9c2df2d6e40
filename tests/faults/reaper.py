"""Pauses and ends the lives of processes as they are planned, and begins new ones."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.faults import database, plan
from tests.faults.plan import LONG_PAUSE, SCHEDULERS, Kill, Pause, Victim
from tests.faults.processes import ANYWHERE, Broker, EndedByItself, Process
from tests.support.schedulers import is_locked
from tests.support.waiting import TIMEOUT_FACTOR

LOOK = 0.1
"""Seconds between looks at what is waited for."""

MAX_PROBLEMS = 10
"""Processes that ended by themselves, after which there is no more to find out."""

STANDBY = "standby"

LONGEST_PAUSE = 20.0 * TIMEOUT_FACTOR
"""Seconds in which a standby must have taken over from a scheduler that sleeps."""

REST = 1.0
"""Seconds before a client starts again; for what it did to go on in between."""

OVERLAP = 0.5
"""Seconds that the new leader has to write before the old one wakes."""


class Reaper:
    """Kills the processes of a run, each again and again, and stops some for a while before.

    Args:
        seed: of what is killed when.
        processes: they are killed, also if they run already.
        broker: of all of them.
        path: of the database.
        log: a line is written there for each kill and pause.
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
        self.pauses: Counter[tuple[str, str]] = Counter()
        """Process, what became of it → how often."""
        self.seconds = 0.0
        """From the first kill to the last."""
        self.problems: list[str] = []
        """Processes that ended by themselves, as sentences."""
        self.leaderless: list[str] = []
        """Pauses in which no standby took over, as sentences."""

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
        while self._count() < kills and len(self.problems) <= MAX_PROBLEMS:
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(LOOK)

    def _count(self) -> int:
        return sum(count for (kind, _), count in self.kills.items() if kind != Victim.CLIENT)

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
            if victim is Victim.CLIENT:
                await asyncio.sleep(REST)
        if victim is not Victim.CLIENT:
            await process.start()

    async def _live(self, victim: Victim, process: Process, kill: Kill) -> None:
        """Return once this life has ended as planned.

        Raises:
            EndedByItself: it ended in another way.
        """
        if victim in SCHEDULERS and not kill.as_standby:
            await self._until_it_leads(process)
        if kill.pause is not None and process.is_alive:
            await self._pause(victim, process, kill.pause)
            if victim in SCHEDULERS:
                await self._until_it_leads(process)  # as standby it woke, and leads once more
        where = await process.die(kill)
        is_standby = victim in SCHEDULERS and where == ANYWHERE and not self._leads(process)
        self._note_kill(STANDBY if is_standby else victim.kind, where)

    async def _until_it_leads(self, process: Process) -> None:
        while self._killing and process.is_alive and not self._leads(process):  # noqa: ASYNC110  # it is another process
            await asyncio.sleep(LOOK)

    def _leads(self, process: Process) -> bool:
        return database.leader(self._database) == process.pid

    async def _pause(self, victim: Victim, process: Process, pause: Pause) -> None:
        await asyncio.sleep(pause.after)
        if pause.seconds is None:
            await self._pause_until_replaced(victim, process)
            return
        async with process.paused():
            await asyncio.sleep(pause.seconds)
        self._note_pause(
            victim, f"for {'longer' if pause.seconds >= LONG_PAUSE else 'less'} than a lease"
        )

    async def _pause_until_replaced(self, victim: Victim, process: Process) -> None:
        """Stop a scheduler outside of any transaction: in one it keeps everybody else from writing."""
        while self._killing and self._leads(process):
            async with process.paused():
                if await asyncio.to_thread(is_locked, str(self._database)):
                    continue
                try:
                    async with asyncio.timeout(LONGEST_PAUSE):
                        while self._leads(process):  # noqa: ASYNC110  # it is another process
                            await asyncio.sleep(LOOK)
                except TimeoutError:
                    self.leaderless.append(f"{victim} slept for {LONGEST_PAUSE:.0f} s, and led")
                    return
                await asyncio.sleep(OVERLAP)
            self._note_pause(victim, "another took over")

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
        self._write(f"{kind}: {where}")

    def _note_pause(self, victim: Victim, what: str) -> None:
        self.pauses[victim.kind, what] += 1
        self._write(f"{victim.kind} woke: {what}")

    def _write(self, line: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{time.time_ns() // 1_000_000} {line}\n")
