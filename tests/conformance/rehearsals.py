"""Rehearsals of the tests' own workers, in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from broker_queue.amqp.connection import Connection, Session
from broker_queue.amqp.failures import NOT_FOUND
from broker_queue.conformance.rehearsal import Rehearsal
from broker_queue.conformance.rehearse import ALL, rehearse
from broker_queue.conformance.stage import Plan
from broker_queue.conformance.verdict import Rating, Result
from broker_queue.protocol.names import Names
from broker_queue.protocol.topology import exchanges, own_queues
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


def described(results: Iterable[Result]) -> str:
    """Return what a failing test shows of results."""
    return "\n\n".join(
        f"{each.check}: {each.outcome}\n{each.text}\n{each.advice}" for each in results
    )


async def left_on_broker(url: str, namespace: str) -> list[str]:
    """Return the exchanges and queues that there are of a namespace."""
    names = Names(namespace)
    connection = Connection(url, name="looking", setup=_no_setup)
    await connection.start(fail_fast=True)
    try:
        session = await connection.session()
        kept = [each.name for each in exchanges(names) if await _is_there(session, each.name, True)]
        queues = [*(queue.name for queue in own_queues(names)), names.job_queue("rehearsal")]
        return kept + [queue for queue in queues if await _is_there(session, queue, False)]
    finally:
        await connection.close()


async def _is_there(session: Session, name: str, is_exchange: bool) -> bool:
    channel = await session.open_channel(confirms=False, essential=False)
    try:
        if is_exchange:
            await channel.underlying.exchange_declare(name, passive=True)
        else:
            await channel.look(name)
    except NOT_FOUND:
        return False
    finally:
        await channel.close()
    return True


async def _no_setup(_: Session) -> None:
    return None


def _nothing(_: object) -> None:
    return None
