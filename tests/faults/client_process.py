"""A client that dies in the middle of a request: ``python -m tests.faults.client_process SEED DATABASE RECORD``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from itertools import islice
from pathlib import Path

from tests.faults import database, lifeline, plan, record
from tests.faults.client import MAX_OPEN as MAX_OPEN_OF_OTHERS
from tests.faults.client import Client
from tests.faults.plan import Kill, Victim
from tests.faults.record import Born, CancelSent, Entry, RetrySent, SubmitSent, WrittenRecord
from tests.faults.works import works

MAX_OPEN = 2 * MAX_OPEN_OF_OTHERS
"""Jobs; the others keep it full up to theirs, and a client that waits for them would send nothing."""

SENT = {"submit": SubmitSent, "cancel": CancelSent, "retry": RetrySent}


class DoomedRecord(WrittenRecord):
    """Kills its process soon after a certain request was sent.

    Args:
        path: of the file.
        kill: says which request, and how soon.
    """

    def __init__(self, path: Path, kill: Kill) -> None:
        super().__init__(path)
        self._kill = kill
        self._left = kill.count

    def note(self, entry: Entry) -> None:
        super().note(entry)
        if self._kill.request is not None and isinstance(entry, SENT[self._kill.request]):
            self._left -= 1
            if self._left == 0:
                asyncio.get_running_loop().call_later(
                    self._kill.after_request, os.kill, os.getpid(), signal.SIGKILL
                )


async def run(seed: str, path: Path, written: Path) -> None:
    """Submit, cancel and retry until the end of this life."""
    life = sum(isinstance(entry, Born) for entry in record.read(written))
    (kill,) = islice(plan.kills(int(seed), Victim.CLIENT), life, life + 1)
    doomed = DoomedRecord(written, kill)
    doomed.note(Born())
    planned = works(int(seed), f"{Victim.CLIENT} in life {life}", is_eager=True)
    open_jobs = partial(database.open_jobs, path)
    stopping = asyncio.Event()
    await Client(None, None, planned, doomed, open_jobs, stopping, max_open=MAX_OPEN).run()


if __name__ == "__main__":
    lifeline.hold()
    asyncio.run(run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
