"""A scheduler for the crash tests: ``python -m tests.faults.scheduler_process JOURNAL [MUTATION]``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

from sqlalchemy import Connection

from scheduler import __main__, loop
from scheduler.rules.submission import Limits
from scheduler.store import leader
from scheduler.store.writer import Writer
from tests.faults import lifeline
from tests.faults.journal import EpochJournal
from tests.faults.mutations import MUTATIONS

T = TypeVar("T")

MAX_EDGES_TOLD = 20
"""In one transaction: few, so that a kill finds ends of which not all dependents were told."""


def write_down(journal: EpochJournal) -> None:
    """Let each transaction, and each taking of the leadership, write down its epoch."""
    take, transaction = leader.take, Writer.transaction

    def noted_take(connection: Connection, holder: str, now: int, until: int) -> int | None:
        epoch = take(connection, holder, now, until)
        if epoch is not None:
            journal.write(epoch)
        return epoch

    async def noted_transaction(
        writer: Writer, work: Callable[[Connection], T], *, is_short: bool = False
    ) -> T:
        def noted(connection: Connection) -> T:
            done = work(connection)
            journal.write(writer.epoch or 0)
            return done

        return await transaction(writer, noted, is_short=is_short)

    patch.object(leader, "take", noted_take).start()
    patch.object(Writer, "transaction", noted_transaction).start()


def main(path: str, mutations: list[str]) -> int:
    """Run the scheduler, with deliberate bugs if any are named, and return its exit code."""
    lifeline.hold()
    write_down(EpochJournal(Path(path)))
    patch.object(loop, "Limits", partial(Limits, max_edges_told=MAX_EDGES_TOLD)).start()
    for name in mutations:
        MUTATIONS[name]()
    return __main__.main([])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
