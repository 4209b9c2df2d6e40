"""A worker for the crash tests: ``python -m tests.faults.worker_process VICTIM JOURNAL``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from broker_queue import execution
from broker_queue.job_message import DequeuedJob
from broker_queue.running import Job
from broker_queue.worker import Worker
from tests.faults import lifeline
from tests.faults.journal import Journal
from tests.faults.plan import Victim
from tests.faults.works import CHANNELS, CLAIMED, TYPES

CONCURRENCY = 4

OVERRUN = 15.0
"""Seconds of a run that is to be stopped by its time limit."""


class KnownJob(Job):
    """A job that knows its token, for the journal."""

    def __init__(self, message: DequeuedJob, report_progress: Callable[[bytes], None]) -> None:
        super().__init__(message, report_progress)
        self.token = message.token


def make_worker(victim: Victim, journal: Journal) -> Worker:
    """Return a worker whose jobs write down what they do."""
    name = f"{victim} {uuid4().hex[:6]}"
    worker = Worker(concurrency=CONCURRENCY, channels=CHANNELS[victim], name=name)

    async def run(args: dict[str, Any], job: Job) -> dict[str, Any]:
        assert isinstance(job, KnownJob)
        named: dict[str, Any] = {
            "run": uuid4().hex, "job": job.id, "attempt": job.attempt, "token": job.token,
            "worker": name, "channel": job.channel,
        }  # fmt: skip
        journal.write("start", **named, inputs=args.get("inputs", {}))
        try:
            await asyncio.sleep(args["work"])
            if job.attempt < args["succeed_at"] and "overrun" in args:
                await asyncio.sleep(OVERRUN)
                journal.write("overran", **named)
        except asyncio.CancelledError:
            journal.write("stopped", **named)
            raise
        if job.attempt < args["succeed_at"]:
            journal.write("failed", **named)
            raise RuntimeError("as planned")
        grown = [job.add("step", child).id for child in args.get("grow", [])]
        if grown:
            job.extend(args["join"], grown)
        result = {"run": named["run"], "attempt": job.attempt}
        journal.write("finished", **named, result=result, grown=grown)
        return result

    for kind in TYPES:
        worker.register(kind, run, claim=kind == CLAIMED)
    return worker


if __name__ == "__main__":
    lifeline.hold()
    patch.object(execution, "Job", KnownJob).start()
    make_worker(Victim(sys.argv[1]), Journal(Path(sys.argv[2]))).run_forever()
