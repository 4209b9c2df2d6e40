"""``python -m tests.faults``: a run of the crash tests, with its table."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.mutations import MUTATIONS
from tests.faults.report import table
from tests.faults.run import Options, run


def main(arguments: list[str]) -> int:
    """Run and return the exit code: 1 if anything was violated."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.kills is not None and given.kills < 1:
        parser.error("--kills is at least 1")
    if given.minutes is not None and not 0 < given.minutes < math.inf:
        parser.error("--minutes is more than 0")
    logging.getLogger("broker_queue").setLevel(logging.ERROR)  # lost connections are the point
    folder = given.folder or Path(tempfile.mkdtemp(prefix="broker-queue-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty: an earlier run's jobs would be taken for this one's")
    seconds = None if given.minutes is None else given.minutes * 60
    kills = given.kills or (1_000 if seconds is None else sys.maxsize)
    options = Options(
        seed=given.seed,
        kills=kills,
        seconds=seconds,
        mutation=given.mutation,
        folder=folder,
        broker_dies=not given.spare_broker,
    )
    print(f"seed {given.seed}, evidence in {folder}", flush=True)  # noqa: T201  # a command
    report = asyncio.run(run(options))
    print(table(report))  # noqa: T201  # a command
    if report.violations:
        print(f"evidence is kept in {folder}")  # noqa: T201  # a command
        return 1
    if given.folder is None:
        shutil.rmtree(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument(
        "--kills",
        type=int,
        help="how many, besides those of clients (1000, unless --minutes is given)",
    )
    parser.add_argument("--minutes", type=float, help="how long at most")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="a deliberate bug")
    parser.add_argument("--spare-broker", action="store_true", help="never kill the broker")
    parser.add_argument("--folder", type=Path, help="keep the evidence there")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
