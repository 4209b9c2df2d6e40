"""Somebody else who takes the worker's jobs is named, and the worker itself is not taken for one."""

from __future__ import annotations

import asyncio

from broker_queue.conformance.verdict import Outcome
from tests.conformance.rehearsals import WRONG_WORKER, plan_of, rehearsed
from tests.support.raw import RawClient


async def test_other_consumers_of_the_queue_are_named_as_what_jobs_are_lost_to(
    broker_url: str, namespace: str
) -> None:
    plan = plan_of(broker_url, namespace, *WRONG_WORKER)
    queue = plan.names.job_queue("rehearsal")
    async with RawClient(broker_url, namespace) as raw, asyncio.TaskGroup() as group:
        rehearsal = group.create_task(rehearsed(plan, {"several", "odd_args"}))
        await raw.until_consumed(queue, 1)
        for _ in range(2):
            await raw.channel.consume(queue, lambda _: None, prefetch=0)
        rating = await rehearsal
    told = [result for result in rating.results if f"jobs from queue {queue}, past" in result.text]
    assert told
    assert told[0].text.startswith("2 other consumers take jobs from queue ")
    assert "another --namespace" in told[0].advice
    failed = [result for result in rating.results if result.outcome is Outcome.FAILED]
    assert failed  # jobs are gone
    assert set(failed) <= set(told)
