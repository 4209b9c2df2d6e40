"""What is killed and stopped when: everything follows from one seed.

The same seed gives the same kills and the same graphs (`works`) in the same order. What meets what is up to
the machine, so a violation may need a few runs of its seed to come again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from broker_queue.failpoints import Point


class Victim(StrEnum):
    """What is killed."""

    SCHEDULER_1 = "scheduler 1"
    SCHEDULER_2 = "scheduler 2"
    WORKER_1 = "worker 1"
    WORKER_2 = "worker 2"
    BROKER = "broker"
    CLIENT = "client"

    @property
    def kind(self) -> str:
        """What it is, without its number."""
        return self.partition(" ")[0]


SCHEDULERS = (Victim.SCHEDULER_1, Victim.SCHEDULER_2)
"""One leads, the other stands by."""
WORKERS = (Victim.WORKER_1, Victim.WORKER_2)

WORKER_POINTS = (
    Point.BEFORE_RUN, Point.BEFORE_LEASE_ACK, Point.BEFORE_REPORT, Point.AFTER_REPORT, Point.AFTER_JOB_ACK,
)  # fmt: skip
SCHEDULER_POINTS = tuple(point for point in Point if point not in WORKER_POINTS)

ONCE = frozenset(
    {Point.AFTER_LEADERSHIP, Point.BEFORE_REVOKE, Point.AFTER_REVOKE, Point.BEFORE_LEASE_ACK}
)
"""Points that a process comes to rarely."""

OFTEN = frozenset({Point.BEFORE_COMMIT, Point.AFTER_COMMIT})
"""Points to die at twice as often: all promises hang on them. The first transactions of a scheduler
only prepare it, so it does not die in those."""

LONG_PAUSE = 4.5
"""Seconds: longer than a lease of the crash tests."""

PATIENCE = 6.0
"""Seconds of a process that does not come to its point, then it is killed where it is."""


PATIENCE_WITH_CLIENTS = 12.0
"""The same of a client that does not come to its request: it waits for those before."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A stop by SIGSTOP in the middle of a life.

    Attributes:
        after: seconds after which it is stopped; a scheduler's count from when it leads.
        seconds: for which it is stopped; None: until another scheduler leads.
    """

    after: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Kill:
    """The end of one life of a process.

    Attributes:
        point: where; None: wherever it is.
        count: the how-manieth time that it comes there.
        after: seconds after which it is killed wherever it is; a scheduler's count from when it
            leads.
        as_standby: of a scheduler: they count from its start.
        pause: before that.
        request: of a client: it dies when it has sent this, for the `count`-th time.
        after_request: seconds after that.
    """

    point: Point | None
    count: int
    after: float
    as_standby: bool = False
    pause: Pause | None = None
    request: str | None = None
    after_request: float = 0.0

    @property
    def place(self) -> str:
        """Where it dies if it comes there."""
        return str(self.point or "") if self.request is None else f"after it sent a {self.request}"


def kills(seed: int, victim: Victim) -> Iterator[Kill]:
    """Yield the ends of the lives of one process; most of them at a point, each in its turn."""
    chance = random.Random(f"{seed} kills of {victim}")
    if victim is Victim.CLIENT:
        yield from _kills_in_a_request(chance)
    points = SCHEDULER_POINTS if victim in SCHEDULERS else WORKER_POINTS
    deck: list[Point] = []
    while True:
        if chance.random() < (0.15 if victim in SCHEDULERS else 0.1):
            yield Kill(None, 0, chance.uniform(0.5, 4.0), pause=_pause(chance, victim))
        elif chance.random() < 0.4:
            as_standby = victim in SCHEDULERS and chance.random() < 0.3
            yield Kill(None, 0, chance.uniform(0.5, 4.0), as_standby)
        else:
            if not deck:
                deck = [*points, *(point for point in points if point in OFTEN)]
                chance.shuffle(deck)
            point = deck.pop()
            yield Kill(point, _count(chance, point), PATIENCE)


def _kills_in_a_request(chance: random.Random) -> Iterator[Kill]:
    while True:
        yield Kill(
            None,
            chance.choice((1, 1, 1, 2)),
            PATIENCE_WITH_CLIENTS,
            request=chance.choice(("submit", "cancel", "retry")),
            after_request=chance.choice((0.0, 0.002, 0.005, 0.01, 0.02, 0.05)),
        )


def _count(chance: random.Random, point: Point) -> int:
    if point in ONCE:
        return 1
    return chance.choice((4, 6, 9, 14, 21) if point in OFTEN else (1, 1, 2, 3, 5, 8, 13))


def _pause(chance: random.Random, victim: Victim) -> Pause:
    """Return one of a scheduler that is replaced meanwhile, or one that everybody sits out.

    A worker's may be longer than its leases.
    """
    after = chance.uniform(0.3, 2.5)
    if victim in SCHEDULERS:
        return Pause(after, None if chance.random() < 0.75 else chance.uniform(0.2, 1.5))
    return Pause(after, chance.choice((0.2, 0.5, 1.0, 2.0, LONG_PAUSE)))


def broker_pauses(seed: int) -> Iterator[float]:
    """Yield the seconds for which the broker stays up each time; at first less, for short runs."""
    chance = random.Random(f"{seed} kills of the broker")
    yield chance.uniform(5.0, 10.0)
    while True:
        yield chance.uniform(15.0, 35.0)
