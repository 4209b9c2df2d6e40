"""Rounds in which contenders take turns, each in a session of its own, on one broker."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.contenders.contender import Place
from benchmarks.processes import ROOT
from benchmarks.roster import ROSTER
from benchmarks.workloads import WORKLOADS
from broker_queue.local_broker.guard import guarded

LATENCY = "latency"
"""Not a plan: a chain whose jobs say when they started and ended."""

HAVE_LATENCY = ("ours", "ours-classic")

START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
LINE_LIMIT = 1 << 24
"""Bytes of one answer."""

Figure = dict[str, Any]
"""What came of one plan, with contender, workload, size and round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a run does.

    Args:
        contenders: names in the roster.
        sizes: of each workload.
        rounds: how often everyone has a turn.
        bound: seconds after which a plan is given up.
        place: broker and Redis, and the folder in which each session has its own.
        others: processes whose time is noted with each figure: name → process id.
        without: contenders that cannot take part → why.
    """

    contenders: Sequence[str]
    sizes: Mapping[str, int]
    rounds: int
    bound: float
    place: Place
    others: Mapping[str, int] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)


class Died(Exception):
    """A session ended, or was ended; the text says why."""


class Session:
    """A contender's process, from its start to its end.

    Args:
        name: in the roster.
        place: where it works.
    """

    def __init__(self, name: str, place: Place) -> None:
        self._name = name
        self._place = place
        self._log = Path(place.folder) / "session.log"
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *guarded([sys.executable, "-m", "benchmarks.session", self._name]),
                cwd=ROOT,
                env=os.environ | self._place.environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_LIMIT,
            )
        try:
            await self._answer(START_TIMEOUT)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def ask(self, command: Mapping[str, Any], bound: float) -> Figure:
        """Return what came of a command.

        Raises:
            Died: it took too long, or the process ended; either way, it has ended.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            await self._process.stdin.drain()
        return await self._answer(bound)

    async def _answer(self, bound: float) -> Figure:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(bound):
                line = await self._process.stdout.readline()
        except TimeoutError:
            await self._kill()
            raise Died(f"more than {bound:.0f} s") from None
        if not line:
            code = await self._process.wait()
            last = self._log.read_text(errors="replace").splitlines()[-1:] or [""]
            raise Died(f"its process ended with code {code}: {last[0][:200]}")
        return dict(json.loads(line))

    async def _end(self) -> None:
        assert self._process is not None
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            await self._kill()

    async def _kill(self) -> None:
        """End it; the processes that it started end with it."""
        assert self._process is not None
        for _ in range(3):
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self._process.wait()
                    return


class Rounds:
    """All turns of all contenders.

    Args:
        setting: what to do.
        tell: is called with a line for each figure.
    """

    def __init__(self, setting: Setting, tell: Callable[[str], None]) -> None:
        self._setting = setting
        self._tell = tell
        self._figures: list[Figure] = []
        self._lives = 0
        self._given_up: dict[tuple[str, str], str] = {}
        """What took too long once is not tried again."""

    async def run(self) -> list[Figure]:
        """Return a figure for each contender, workload and round."""
        names = list(self._setting.contenders)
        for number in range(self._setting.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:  # no one is always first
                await self._turn(name, number)
        return self._figures

    async def _turn(self, name: str, number: int) -> None:
        left = []
        for workload in (each for each in self._setting.sizes if _takes_part(name, each)):
            why_not = self._why_not(name, workload)
            if why_not is None:
                left.append(workload)
            else:
                self._note(name, workload, number, {"void": why_not})
        while left:
            with suppress(Died):
                async with Session(name, self._next_place(name)) as session:
                    while left:
                        workload = left.pop(0)
                        figure = await self._figure(session, name, workload, number)
                        self._note(name, workload, number, figure)
                        if (name, workload) in self._given_up:
                            break  # and the next session goes on
                continue
            if left:  # it did not even start
                workload = left.pop(0)
                self._note(name, workload, number, {"void": "failed: it does not start"})

    def _why_not(self, name: str, workload: str) -> str | None:
        return self._setting.without.get(name) or self._given_up.get((name, workload))

    async def _figure(self, session: Session, name: str, workload: str, number: int) -> Figure:
        command = {
            "workload": workload,
            "size": self._setting.sizes[workload],
            "run": f"{number}-{workload}",
            "others": dict(self._setting.others),
        }
        try:
            return await session.ask(command, self._setting.bound)
        except Died as death:
            self._given_up[name, workload] = f"failed: {death}"
            return {"void": f"failed: {death}"}

    def _next_place(self, name: str) -> Place:
        """Return a place without anything of an earlier life, which may have left messages."""
        self._lives += 1
        place = self._setting.place
        return Place(
            broker=place.broker,
            redis=place.redis,
            folder=str(Path(place.folder) / f"{self._lives}-{name}"),
            namespace=f"bench-{self._lives}",
            confirms=ROSTER[name].confirms,
        )

    def _note(self, name: str, workload: str, number: int, figure: Figure) -> None:
        size = self._setting.sizes[workload]
        known = {"contender": name, "workload": workload, "size": size, "round": number}
        self._figures.append(known | figure)
        self._tell(f"round {number + 1}  {name:21} {workload:18} {_said(figure)}")


def _takes_part(name: str, workload: str) -> bool:
    only = ROSTER[name].only
    if workload == LATENCY:
        return name in HAVE_LATENCY
    return workload in WORKLOADS and (not only or workload in only)


def _said(figure: Figure) -> str:
    if "void" in figure:
        return str(figure["void"])
    if "latencies" in figure:
        return f"p50 {figure['latencies'][len(figure['latencies']) // 2]:.1f} ms"
    return f"{figure['jobs'] / figure['seconds']:>9,.0f} jobs/s"
