"""``python -m benchmarks.scale``: ours with very many jobs; ``make bench-scale``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contenders.contender import Place
from benchmarks.contenders.ours import Ours
from benchmarks.machine import hardware, versions
from benchmarks.scale import measures
from benchmarks.scale.fillers import Shape
from benchmarks.scale.tables import RESULTS, costs, restarts, stalls, write
from broker_queue.errors import BrokerQueueError
from broker_queue.local_broker.node import PrivateNode

SIZES = (1_000, 10_000, 100_000, 1_000_000)
LARGE = 100_000
WAITING = 1_000_000
QUESTIONS = ("cost", "stalls", "restart")


class _Run:
    """All questions, on one broker; a fresh database for each."""

    def __init__(self, broker: str, folder: Path, scale: float) -> None:
        self._broker = broker
        self._folder = folder
        self._scale = scale
        self._number = 0

    def cost(self) -> list[measures.Row]:
        sizes = [self._scaled(size) for size in SIZES]
        rows = []
        for shape in Shape:
            with self._ours() as ours:
                rows += [_told(row) for row in measures.cost(ours, shape, sizes)]
        return rows

    def stalls(self) -> list[measures.Row]:
        jobs = self._scaled(LARGE)
        asked: list[Callable[[Ours], measures.Row]] = [
            lambda ours: measures.submit(ours, Shape.FLAT, jobs),
            lambda ours: measures.submit(ours, Shape.RANDOM, jobs),
            lambda ours: measures.fan_out(ours, jobs),
            lambda ours: measures.skip(ours, jobs),
            lambda ours: measures.fan_in(ours, jobs),
            lambda ours: measures.cancel(ours, jobs),
        ]
        with self._ours() as ours:
            return [_told(ask(ours)) for ask in asked]

    def restart(self) -> list[measures.Row]:
        with self._ours() as ours:
            return [_told(measures.restart(ours, self._scaled(WAITING)))]

    def _scaled(self, jobs: int) -> int:
        return max(100, int(jobs * self._scale))

    @contextmanager
    def _ours(self) -> Iterator[Ours]:
        self._number += 1
        place = Place(
            broker=self._broker,
            folder=str(self._folder / str(self._number)),
            namespace=f"scale-{self._number}",
        )
        ours = Ours(place)
        try:
            ours.start()
            yield ours
        finally:
            ours.stop()


def main(arguments: Sequence[str]) -> int:
    """Ask everything that is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the jobs (1.0)")
    parser.add_argument("--only", action="append", choices=QUESTIONS, help="one question")
    parser.add_argument("--output", type=Path, default=RESULTS, help="file for the figures")
    given = parser.parse_args(arguments)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="broker-queue-scale-") as folder,
            PrivateNode() as node,
        ):
            run = _Run(node.url, Path(folder), given.scale)
            answers = {name: getattr(run, name)() for name in given.only or QUESTIONS}
    except BrokerQueueError as error:
        print(error, file=sys.stderr)
        return 1
    document: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "hardware": hardware(),
        "versions": versions(["broker-queue", "aio-pika", "sqlalchemy", "uvloop"]),
        **{name: answers.get(name, []) for name in QUESTIONS},
    }
    write(given.output, document)
    print("", costs(document), "", stalls(document), "", restarts(document), sep="\n")
    return 0


def _told(row: measures.Row) -> measures.Row:
    print("  ".join(f"{name} {_short(value)}" for name, value in row.items()), flush=True)
    return row


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
