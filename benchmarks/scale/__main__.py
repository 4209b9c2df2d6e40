"""``python -m benchmarks.scale``: ours with very many jobs; ``make bench-scale``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.machine import hardware, versions
from benchmarks.scale import tables
from benchmarks.scale.parts import NAMES, chosen
from benchmarks.scale.running import Found, Running

MINUTES = 30.0
PACKAGES = ("broker-queue", "aio-pika", "sqlalchemy", "uvloop")


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for; return 0 if every figure is there."""
    given = _parser().parse_args(arguments)
    running = Running(
        scale=given.scale, seconds=given.minutes * 60, broker=given.broker, tell=_tell
    )
    path = given.output or (tables.RESULTS if given.scale >= 1 else tables.SMALL)
    missing = []
    for name in chosen(given.only):
        part = asyncio.run(running.run(name))
        tables.write(path, _document(name, part, path))  # at once: the next may be interrupted
        missing += [name] if "void" in part else []
    document = tables.read(path)
    for table in (
        tables.latency, tables.submits, tables.stalls, tables.waiting, tables.costs, tables.reached,
        tables.settings,
    ):  # fmt: skip
        print("", table(document), sep="\n")
    print(f"\nall figures: {path}")
    if given.plots and path.resolve() == tables.RESULTS:
        from benchmarks.scale.plots import draw  # needs matplotlib

        print("plots:", *draw(document))
    if missing:
        print("without all of their figures:", *missing, file=sys.stderr)
    return 1 if missing else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="Ours with very many jobs. Figures of parts that are not measured stay as "
        "they were.",
    )
    parser.add_argument(
        "--scale",
        type=_share,
        default=1.0,
        help="share of the jobs (1.0); below 1, nothing of the docs is changed",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PART",
        choices=NAMES,
        help=f"may be given several times: {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"for all parts together ({MINUTES:.0f})"
    )
    parser.add_argument("--broker", default="", metavar="URL", help="in place of private brokers")
    parser.add_argument("--output", type=Path, metavar="FILE", help="for the figures")
    parser.add_argument("--plots", action="store_true", help="draw the plots of the docs")
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def _document(name: str, part: Found, path: Path) -> dict[str, Any]:
    """Return all figures: those of a part, and those of others that the file had before."""
    before: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        before = tables.read(path)
    known = before.get("versions", {}).get("RabbitMQ", "")
    return {
        "hardware": hardware(),
        "versions": {"RabbitMQ": part.pop("broker", known), **versions(PACKAGES)},
        "parts": before.get("parts", {}) | {name: part},
    }


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
