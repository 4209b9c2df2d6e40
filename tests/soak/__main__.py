"""``python -m tests.soak``: hours of steady work, and what became of memory, queues and logs."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import tempfile
from pathlib import Path

from tests.soak.report import table
from tests.soak.run import soak


def main(arguments: list[str]) -> int:
    """Run and return the exit code: 1 if anything is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    given = parser.parse_args(arguments)
    if not 0 < given.minutes < math.inf:
        parser.error("--minutes is more than 0")
    with tempfile.TemporaryDirectory(prefix="broker-queue-soak-") as folder:
        soaked = asyncio.run(soak(given.minutes, Path(folder), _tell))
    print(table(soaked))  # noqa: T201  # a command
    return 1 if soaked.problems else 0


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # a command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
