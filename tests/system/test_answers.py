"""Which question an answer is to."""

from __future__ import annotations

import asyncio

from broker_queue.job import State, Verdict
from broker_queue.protocol.names import Names
from broker_queue.protocol.reports import ReportAnswer
from broker_queue.requests import Requests
from tests.support.fake_scheduler import FakeScheduler
from tests.support.waiting import ANSWER_TIMEOUT


async def test_a_late_answer_is_not_taken_for_that_to_a_later_question(
    broker_url: str, namespace: str
) -> None:
    requests = Requests(broker_url, Names(namespace), name="a worker")
    async with FakeScheduler(broker_url, namespace) as fake:
        await requests.connect(ANSWER_TIMEOUT)
        try:
            lease = asyncio.create_task(
                requests.report("lease", "token", b"{}", timeout=ANSWER_TIMEOUT)
            )
            first = await fake.reports.get()
            lease.cancel()
            claim = asyncio.create_task(
                requests.report("started", "token", b"{}", timeout=ANSWER_TIMEOUT)
            )
            second = await fake.reports.get()
            assert (first.correlation_id, second.correlation_id) == ("token", "token")
            await fake.answer(first, "accepted", ReportAnswer(state=State.RUNNING, lease=60.0))
            await fake.answer(second, "stale", ReportAnswer(state=State.FINISHED))
            assert (await claim).verdict is Verdict.STALE
        finally:
            await requests.close()
