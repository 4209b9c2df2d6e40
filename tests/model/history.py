"""Histories: lists of small commands that any engine can play, drawn by hypothesis.

A command names jobs by a number that is taken modulo the jobs there are, so that every list of
commands means something and shrinks well.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from hypothesis import strategies as st

from broker_queue.job import Condition, State

CONDITIONS = tuple(Condition)


class Spec(NamedTuple):
    """A job to be submitted. Parents are jobs by number, lower than its own."""

    parents: tuple[tuple[int, Condition], ...]
    max_attempts: int
    is_milestone: bool
    delay: int


class Seen(NamedTuple):
    """What every engine must agree on, for each job after each command."""

    state: State
    attempt: int
    handover: int
    cause: int | None


class Engine(Protocol):
    """Something that plays histories; jobs are numbered in the order of their submit."""

    def submit(self, specs: list[Spec]) -> None: ...
    def report(self, job: int, kind: str, handover: int) -> str: ...
    def cancel(self, job: int, *, dependents: bool) -> None: ...
    def extend(self, job: int, parent: int, condition: Condition) -> bool: ...
    def retry(self, job: int) -> bool: ...
    def advance(self, milliseconds: int) -> None: ...
    def seen(self) -> list[Seen]: ...


class Command(NamedTuple):
    """One step; what `a`, `b`, `c` mean depends on the kind."""

    kind: str
    a: int
    b: int
    c: int


KINDS = (
    *["submit"] * 5,
    *["finished"] * 8,
    *["failed"] * 4,
    *["started"] * 3,
    *["released"] * 2,
    *["stale"] * 2,
    *["cancel"] * 2,
    *["extend"] * 2,
    "final failure", "retry", "advance", "advance", "cancel dependents",
)  # fmt: skip


def _command(number: int) -> Command:
    """Read one number as a command: drawing one is much quicker than drawing four."""
    number, kind = divmod(number, len(KINDS))
    return Command(KINDS[kind], number & 0xFFFF, number >> 16 & 0xFFFF, number >> 32 & 0xFFFF)


commands = st.integers(0, len(KINDS) << 48).map(_command)


def histories(least: int, most: int) -> st.SearchStrategy[list[Command]]:
    """Return a strategy of histories of this many commands."""
    return st.lists(commands, min_size=least, max_size=most)


def play(engine: Engine, command: Command) -> object:
    """Play one command and return what the engine answered."""
    kind, a, b, c = command
    seen = engine.seen()
    if kind == "submit" or not seen:
        engine.submit(_specs(len(seen), a, b, c))
        return None
    job = _pick(seen, a, open_first=b % 4 != 0)
    if kind in ("finished", "failed", "started", "released", "final failure"):
        return engine.report(job, kind, seen[job].handover)
    if kind == "stale":
        return engine.report(job, "finished", seen[job].handover - 1)
    if kind == "extend":
        return engine.extend(job, b % len(seen), CONDITIONS[c % 3])
    if kind == "retry":
        return engine.retry(job)
    if kind == "advance":
        engine.advance(a % 5_000)
        return None
    engine.cancel(job, dependents=kind == "cancel dependents")
    return None


def _pick(seen: list[Seen], number: int, *, open_first: bool) -> int:
    """Pick a job; mostly one that can still do something."""
    candidates = [
        job for job, facts in enumerate(seen) if facts.state in (State.QUEUED, State.RUNNING)
    ]
    if not open_first or not candidates:
        candidates = list(range(len(seen)))
    return candidates[number % len(candidates)]


def _specs(first: int, a: int, b: int, c: int) -> list[Spec]:
    specs = []
    for index in range(1 + a % 4):
        number = first + index
        mix = a * 31 + b * 17 + index * 101
        wanted = min(number, (b + index) % 4)
        parents = {
            (mix * (7 + k) + c) % number: CONDITIONS[_skewed(mix + k)] for k in range(wanted)
        }
        specs.append(
            Spec(
                parents=tuple(parents.items()),
                max_attempts=1 + (c + index) % 3,
                is_milestone=(mix + c) % 7 == 0,
                delay=1_000 if (mix + c) % 11 == 0 else 0,
            )
        )
    return specs


def _skewed(number: int) -> int:
    """Mostly success, as in life."""
    return (0, 0, 0, 1, 2)[number % 5]
