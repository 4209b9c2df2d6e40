"""``python -m tests.cost``: what every workload costs now, in the form of the table of budgets."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from broker_queue.local_broker.finding import find_broker
from tests.cost import budgets
from tests.cost.budgets import Counts
from tests.cost.in_memory import IN_MEMORY, count_calls
from tests.cost.on_broker import ON_BROKER
from tests.cost.transactions import TRANSACTIONS, count_transaction


async def count_all(url: str, folder: Path) -> dict[str, Counts]:
    """Return the counts of all workloads."""
    counted = {name: await count_transaction(name, folder) for name in TRANSACTIONS}
    counted |= {name: await count_calls(name) for name in IN_MEMORY}
    return counted | {name: await count(url, folder / name) for name, count in ON_BROKER.items()}


def main() -> None:
    """Count, then show or write the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.cost", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--show", action="store_true", help="print the table")
    what.add_argument("--write", action="store_true", help=f"write it into {budgets.PATH.name}")
    given = parser.parse_args()
    with find_broker() as broker, tempfile.TemporaryDirectory() as folder:
        table = budgets.render(asyncio.run(count_all(broker.url, Path(folder))))
    if given.write:
        budgets.PATH.write_text(table)
    else:
        sys.stdout.write(table)


if __name__ == "__main__":
    main()
