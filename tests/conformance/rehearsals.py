"""Rehearsals of the tests' own workers, in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from broker_queue.conformance.rehearsal import Rehearsal
from broker_queue.conformance.rehearse import ALL, rehearse
from broker_queue.conformance.stage import Plan
from broker_queue.conformance.verdict import Rating, Result
from broker_queue.protocol.names import Names
from tests.support.waiting import TIMEOUT_FACTOR

FOLDER = Path(__file__).parent
WRONG_WORKER = (sys.executable, str(FOLDER / "wrong_worker.py"))

PATIENCE = 3.0 * TIMEOUT_FACTOR
START_TIMEOUT = 6.0 * TIMEOUT_FACTOR
STOP_TIMEOUT = 4.0 * TIMEOUT_FACTOR


def plan_of(
    url: str,
    namespace: str,
    *command: str,
    patience: float = PATIENCE,
    start_timeout: float = START_TIMEOUT,
) -> Plan:
    """Return the plan of a rehearsal that does not wait long."""
    return Plan(
        url=url,
        names=Names(namespace),
        job_type="rehearsal",
        rehearsal=Rehearsal(),
        command=command,
        patience=patience,
        start_timeout=start_timeout,
        stop_timeout=STOP_TIMEOUT,
    )


async def rehearsed(plan: Plan, only: Iterable[str] = ALL) -> Rating:
    """Return what the kit finds."""
    return await rehearse(
        plan, only=set(only), on_ready=_nothing, on_result=_nothing, echo=_nothing
    )


def result_of(rating: Rating, check: str) -> Result:
    """Return what was found by one check."""
    return next(result for result in rating.results if result.check == check)


def _nothing(_: object) -> None:
    return None
