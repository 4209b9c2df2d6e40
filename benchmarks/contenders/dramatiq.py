"""Dramatiq: two worker processes with eight threads each; results in Redis.

Confirms are switched on (they are off by default, and messages may be lost). A group's callback is
given no results, so the last job of a fan-in is told the ids of the others and asks Redis.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import Callbacks, GroupCallbacks, Pipelines, Retries
from dramatiq.rate_limits.backends import RedisBackend as RedisLimits
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks import work
from benchmarks.contenders.contender import Place
from benchmarks.processes import Processes
from benchmarks.workloads import Plan, Strand, Submission

PROCESSES, THREADS = 2, 8
TIMEOUT = 300_000
"""Milliseconds for which a result is waited for; a plan has its own bound."""


def _broker(place: Place) -> RabbitmqBroker:
    results = RedisBackend(url=place.redis or None)
    middleware = [
        Callbacks(),
        Pipelines(),
        Retries(min_backoff=50, max_retries=1),
        Results(backend=results, store_results=True),
        GroupCallbacks(RedisLimits(url=place.redis or None)),
    ]
    return RabbitmqBroker(url=place.broker, confirm_delivery=place.confirms, middleware=middleware)


def _checksum(*parents: int, salt: int, marker: str | None = None) -> int:
    return work.checksum(salt, parents, marker)


def _collect(ids: Sequence[str], salt: int) -> int:
    return work.checksum(salt, [_message(each).get_result(block=True) for each in ids])


def _message(message_id: str) -> Any:
    return checksum.message().copy(message_id=message_id)


PLACE = Place.from_environment()
broker = _broker(PLACE)
QUEUE = f"{PLACE.namespace}-dramatiq"
checksum: Any = dramatiq.actor(_checksum, actor_name="checksum", queue_name=QUEUE, broker=broker)
collect: Any = dramatiq.actor(_collect, actor_name="collect", queue_name=QUEUE, broker=broker)
dramatiq.set_broker(broker)


class Dramatiq:
    """A client in this process, two worker processes and the one that started them."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._processes = Processes(Path(place.folder), place.environment)

    def why_not(self, plan: Plan) -> str | None:
        if plan.strands is None:
            return "pipelines and groups, and no graph"
        if plan.milestones:
            return "has none"
        if not all(map(_is_pipeline_or_fan_in, plan.strands)):
            return "a group cannot go on as another group"
        if plan.submission is Submission.HUNDREDS:
            return "no bulk call: see one by one"
        if plan.submission is Submission.AT_ONCE:
            return "has no asynchronous client"
        return None

    @property
    def pids(self) -> list[int]:
        return self._processes.pids

    def start(self) -> None:
        self._processes.start(
            "dramatiq-worker",
            [
                sys.executable, "-m", "dramatiq", "benchmarks.contenders.dramatiq",
                "--processes", str(PROCESSES), "--threads", str(THREADS),
            ],
        )  # fmt: skip
        checksum.send(salt=0).get_result(block=True, timeout=60_000)

    def run(self, plan: Plan, run: str) -> list[int]:
        assert plan.strands is not None
        messages: dict[int, Any] = {}
        for strand in plan.strands:
            messages.update(self._send(plan, run, strand))
        return [
            messages[position].get_result(block=True, timeout=TIMEOUT)
            for position in range(len(plan.tasks))
        ]

    def stop(self) -> None:
        broker.close()
        self._processes.stop()

    def _send(self, plan: Plan, run: str, strand: Strand) -> dict[int, Any]:
        first = {each: self._message(plan, run, each) for each in strand[0]}
        if len(strand) == len(first) == 1:
            return {position: broker.enqueue(message) for position, message in first.items()}
        if len(strand[0]) > 1:
            last = strand[1][0]
            ids = [message.message_id for message in first.values()]
            callback = collect.message(ids, plan.tasks[last].salt)
            group = dramatiq.group(first.values())
            group.add_completion_callback(callback)
            group.run()
            return {**first, last: callback}
        positions = [stage[0] for stage in strand]
        pipeline = dramatiq.pipeline([self._message(plan, run, each) for each in positions])
        pipeline.run()
        return dict(zip(positions, pipeline.messages, strict=True))

    def _message(self, plan: Plan, run: str, position: int) -> Any:
        task = plan.tasks[position]
        kwargs: dict[str, Any] = {"salt": task.salt}
        if task.fails_once:
            kwargs["marker"] = self._place.marker(run, position)
        return checksum.message(**kwargs)


def _is_pipeline_or_fan_in(strand: Strand) -> bool:
    widths = [len(stage) for stage in strand]
    return all(width == 1 for width in widths) or (len(widths) == 2 and widths[1] == 1)
