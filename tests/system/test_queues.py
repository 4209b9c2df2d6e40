"""What the scheduler publishes, as the broker has it."""

from __future__ import annotations

import pytest

from broker_queue.client import JobQueue
from tests.support.raw import RawClient


@pytest.mark.parametrize("given", [None, 0, 9])
async def test_a_message_has_the_priority_of_its_job(
    raw: RawClient, queue: JobQueue, given: int | None
) -> None:
    await queue.enqueue("a", **({} if given is None else {"priority": given}))
    await raw.request("hello", {"worker": "raw", "types": ["a"]})
    await raw.until_ready(raw.names.job_queue("a"), 1)
    found = await raw.channel.underlying.basic_get(raw.names.job_queue("a"))
    assert found.header.properties.priority == (4 if given is None else given)
    assert found.header.properties.delivery_mode == 2
