"""Every queue that scheduler and worker read, filled with nonsense: all of it is told what it is."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from broker_queue.amqp.channel import Delivery
from broker_queue.client import JobQueue
from broker_queue.protocol.names import REPLY_TO_DIRECT
from broker_queue.worker import Worker
from tests.fuzzing.malformed import Fate, Malice
from tests.support.raw import RawClient
from tests.support.schedulers import SchedulerProcess
from tests.support.waiting import ANSWER_TIMEOUT, PATIENCE, TIMEOUT_FACTOR, until
from tests.support.workers import running

MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "3000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))

AT_ONCE = 200
"""Messages that are published before their confirms are waited for."""

GROWTH = 40 << 20
"""Bytes by which a scheduler may grow between the first part and the last: its caches, no leak."""


class Counting:
    """Counts what became of the messages."""

    def __init__(self) -> None:
        self.seen: Counter[Fate] = Counter()

    def answer(self, delivery: Delivery) -> None:
        if (delivery.correlation_id or "").startswith("fuzz-"):
            self.seen[Fate.ANSWERED] += 1

    def parked(self, delivery: Delivery) -> None:
        assert delivery.headers["reason"]
        self.seen[Fate.PARKED] += 1


@pytest.mark.timeout(60 + MESSAGES / 20)
async def test_nonsense_is_answered_or_parked_and_disturbs_nobody(
    broker_url: str, namespace: str, database: Path
) -> None:
    scheduler = SchedulerProcess(url=broker_url, namespace=namespace, database=database)
    await scheduler.start()
    worker = Worker(concurrency=4)
    worker.register("echo", lambda args: args)
    counting, expected = Counting(), Counter[Fate]()
    sizes = []
    async with (
        RawClient(broker_url, namespace) as raw,
        JobQueue(broker_url, namespace=namespace, timeout=ANSWER_TIMEOUT) as queue,
    ):
        await queue.enqueue("token")
        tokens = [(await raw.take("token")).correlation_id or ""]
        consuming = await raw.channel.session.open_channel(confirms=False)
        await consuming.consume(raw.names.parked, counting.parked, prefetch=0, no_ack=True)
        publishing = await raw.channel.session.open_channel()
        await publishing.consume(REPLY_TO_DIRECT, counting.answer, prefetch=0, no_ack=True)
        async with running(worker, broker_url, namespace):
            await queue.result(await queue.enqueue("echo"), timeout=PATIENCE)  # its queue is there
            malice = islice(Malice(SEED, raw.names, "echo", tokens), MESSAGES)
            while part := list(islice(malice, AT_ONCE)):
                expected.update(each.fate for each in part)
                await asyncio.gather(*(publishing.publish(each.message) for each in part))
                job = await queue.enqueue("echo", [len(sizes)])
                assert await queue.result(job, timeout=PATIENCE) == [len(sizes)]
                sizes.append(_memory(scheduler))
            del expected[Fate.IGNORED]

            async def all_told() -> bool:
                return counting.seen == expected

            try:
                await until(all_told, PATIENCE + MESSAGES / 500 * TIMEOUT_FACTOR)
            except TimeoutError:
                pytest.fail(f"{expected} were sent, {counting.seen} were told (seed {SEED})")
            for name in (raw.names.requests, raw.names.reports, raw.names.dead):
                assert await raw.count(name) == 0
    assert sizes[-1] - sizes[len(sizes) // 3] < GROWTH
    code, log = await scheduler.terminate()
    assert code == 0
    assert "ERROR" not in log
    assert "Traceback" not in log


def _memory(scheduler: SchedulerProcess) -> int:
    """Return how many bytes a process has in memory."""
    assert scheduler.process is not None
    pages = Path(f"/proc/{scheduler.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
