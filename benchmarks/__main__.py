"""``python -m benchmarks``: ours and the peers in turn, then a table; ``make bench``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import tables
from benchmarks.contenders.contender import Place
from benchmarks.machine import broker_version
from benchmarks.redis import PrivateRedis, RedisError
from benchmarks.roster import ROSTER
from benchmarks.rounds import LATENCY, Rounds, Setting
from benchmarks.summary import LATEST, QUICK, document, write
from benchmarks.workloads import WORKLOADS
from broker_queue.errors import BrokerQueueError
from broker_queue.local_broker.node import PrivateNode

LATENCY_JOBS, QUICK_LATENCY_JOBS = 1_000, 100
ROUNDS, QUICK_ROUNDS = 5, 1
BOUND, QUICK_BOUND = 120.0, 15.0
"""Seconds after which a plan is given up."""

NOT_QUICK = (
    "flat-at-once",
    "fan-in-5000",
    "layers-order",
    "celery-unconfirmed",
    "dramatiq-unconfirmed",
)
"""Workloads and contenders that a quick run leaves out."""


def main(arguments: Sequence[str]) -> int:
    """Run everything that is asked for; return the exit code."""
    given = _parser().parse_args(arguments)
    try:
        return _run(given)
    except BrokerQueueError as error:
        print(error, file=sys.stderr)
        return 1


def _run(given: argparse.Namespace) -> int:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="broker-queue-bench-"))
        node = stack.enter_context(PrivateNode())
        redis, without = None, {}
        contenders = _chosen(given.only, list(ROSTER), quick=given.quick)
        if any(ROSTER[name].needs_redis for name in contenders):
            try:
                redis = stack.enter_context(PrivateRedis())
            except RedisError as error:
                without = {
                    name: f"failed: {error}" for name in contenders if ROSTER[name].needs_redis
                }
        others = {"broker": node.pid} | ({} if redis is None else {"redis": redis.pid})
        setting = Setting(
            contenders=contenders,
            sizes=_sizes(given),
            rounds=given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS),
            bound=given.bound or (QUICK_BOUND if given.quick else BOUND),
            place=Place(broker=node.url, redis="" if redis is None else redis.url, folder=folder),
            others=others,
            without=without,
        )
        figures = asyncio.run(Rounds(setting, _tell).run())
        broker = asyncio.run(broker_version(node.url))
    found = document(figures, rounds=setting.rounds, broker=broker, small=given.quick)
    path = given.output or (QUICK if given.quick else LATEST)
    write(path, found)
    print("", tables.throughput(found), "", tables.latency(found), sep="\n")
    print(f"\nall figures: {path}")
    if given.plots:
        from benchmarks.plots import draw  # needs matplotlib

        print("plots:", *draw(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, two minutes")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        choices=[*ROSTER, *WORKLOADS, LATENCY],
        help="a contender or a workload; may be given several times",
    )
    parser.add_argument("--rounds", type=int, help=f"turns of each contender ({ROUNDS})")
    parser.add_argument("--bound", type=float, help=f"seconds for one plan ({BOUND:.0f})")
    parser.add_argument("--output", type=Path, help="file for the figures")
    parser.add_argument("--plots", action="store_true", help="draw the plots of the docs")
    return parser


def _chosen(only: Sequence[str], names: Sequence[str], *, quick: bool) -> list[str]:
    """Return the names that were asked for; when none of this kind was, all of them."""
    chosen = [name for name in names if name in only]
    return chosen or [name for name in names if not (quick and name in NOT_QUICK)]


def _sizes(given: argparse.Namespace) -> dict[str, int]:
    sizes = {
        name: workload.quick if given.quick else workload.size
        for name, workload in WORKLOADS.items()
    }
    sizes[LATENCY] = QUICK_LATENCY_JOBS if given.quick else LATENCY_JOBS
    return {name: sizes[name] for name in _chosen(given.only, list(sizes), quick=given.quick)}


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
