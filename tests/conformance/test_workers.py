"""Workers that keep the protocol reach its last level, whatever they are made with."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from broker_queue.cli import COMMAND
from broker_queue.conformance.verdict import Outcome, Rating
from tests.conformance.rehearsals import (
    PATIENCE,
    START_TIMEOUT,
    WRONG_WORKER,
    described,
    plan_of,
    rehearsed,
    result_of,
)

OURS = (*COMMAND, "worker", "tests.conformance.our_worker:worker")

WORKERS = {
    "by hand": WRONG_WORKER,
    "one job at a time": (*WRONG_WORKER, "--concurrency", "1"),
    "reports in batches": (*WRONG_WORKER, "--fault", "batches"),
    "names itself": (*WRONG_WORKER, "--fault", "named"),
    "three consumers": (*WRONG_WORKER, "--fault", "three-consumers"),
    "ours": OURS,
    "ours, one job at a time": (*OURS, "--concurrency", "1"),
}


async def test_every_kind_of_worker_reaches_level_3_without_a_warning(broker_url: str) -> None:
    async def rating_of(command: tuple[str, ...]) -> Rating:
        namespace = f"test-{uuid4().hex[:12]}"
        plan = plan_of(
            broker_url,
            namespace,
            *command,
            patience=3 * PATIENCE,  # seven of them side by side
            start_timeout=5 * START_TIMEOUT,
        )
        return await rehearsed(plan)

    ratings = await asyncio.gather(*(rating_of(command) for command in WORKERS.values()))
    for worker, rating in zip(WORKERS, ratings, strict=True):
        wrong = [result for result in rating.results if result.outcome is not Outcome.PASSED]
        assert not wrong, f"{worker}: {described(wrong)}"
        assert rating.level == 3


async def test_nothing_is_said_of_a_copy_that_came_after_the_end(broker_url: str) -> None:
    alone = (*WRONG_WORKER, "--concurrency", "1", "--fault", "no-lease")
    plan = plan_of(broker_url, f"test-{uuid4().hex[:12]}", *alone)
    found = result_of(await rehearsed(plan, {"copies"}), "copies")
    assert found.text == "the second message came only after the end: nothing is known"
