"""What the scheduler declares and publishes, as the broker has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import Unavailable
from tests.support.ends import finish
from tests.support.raw import RawClient
from tests.support.schedulers import RunningScheduler
from tests.support.waiting import until


async def declare_again(raw: RawClient, job_type: str, arguments: dict[str, object]) -> None:
    """Declare a job queue once more; the broker refuses if it is not the same."""
    channel = await raw.channel.session.open_channel(essential=False)
    name = raw.names.job_queue(job_type)
    await channel.declaring.declare_queue(name, durable=True, arguments=arguments)
    await channel.close()


async def test_job_queues_are_quorum_queues_with_a_delivery_limit_and_a_dead_letter_exchange(
    raw: RawClient, queue: JobQueue
) -> None:
    await queue.enqueue("a")
    await finish(raw, "a")
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": raw.names.dead,
    }
    await declare_again(raw, "a", arguments)


async def test_classic_job_queues_hand_out_by_priority(
    broker_url: str, namespace: str, database: Path
) -> None:
    settings = {"url": broker_url, "namespace": namespace, "database": database}
    async with (
        RunningScheduler(**settings, queue_type="classic", window=10),
        JobQueue(broker_url, namespace=namespace) as queue,
        RawClient(broker_url, namespace) as raw,
    ):
        await queue.enqueue("a")
        await finish(raw, "a")
        arguments = {
            "x-queue-type": "classic",
            "x-max-priority": 9,
            "x-dead-letter-exchange": raw.names.dead,
        }
        await declare_again(raw, "a", arguments)
        jobs = {priority: await queue.enqueue("a", priority=priority) for priority in (0, 9, 5)}

        async def are_there() -> bool:
            return await raw.count(raw.names.job_queue("a")) == len(jobs)

        await until(are_there)
        assert [await finish(raw, "a") for _ in jobs] == [jobs[9], jobs[5], jobs[0]]


@pytest.mark.parametrize("given", [None, 0, 9])
async def test_a_message_has_the_priority_of_its_job(
    raw: RawClient, queue: JobQueue, given: int | None
) -> None:
    await queue.enqueue("a", **({} if given is None else {"priority": given}))
    await raw.request("hello", {"worker": "raw", "types": ["a"]})

    async def is_there() -> bool:
        return await raw.count(raw.names.job_queue("a")) == 1

    await until(is_there)
    found = await raw.channel.underlying.basic_get(raw.names.job_queue("a"))
    assert found.header.properties.priority == (4 if given is None else given)
    assert found.header.properties.delivery_mode == 2


async def test_another_namespace_has_queues_of_its_own(raw: RawClient, broker_url: str) -> None:
    async with JobQueue(broker_url, namespace=f"{raw.names.namespace}-2", timeout=5) as other:
        with pytest.raises(Unavailable, match="no scheduler has ever run"):
            await other.info()
