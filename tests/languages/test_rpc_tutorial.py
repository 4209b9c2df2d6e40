"""The server of RabbitMQ's RPC tutorial is a worker of level 1 in every language."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest

from broker_queue.client import JobQueue
from broker_queue.conformance.level_1 import CHECKS
from broker_queue.conformance.verdict import Outcome, Rating
from broker_queue.graph import Graph
from tests.conformance.rehearsals import plan_of, rehearsed, result_of
from tests.languages.toolchains import (
    go_rpc_server,
    java_rpc_server,
    node_rpc_server,
    ruby_rpc_server,
)
from tests.languages.worker_process import WorkerProcess
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE, TIMEOUT_FACTOR

PASSED, WARNING = Outcome.PASSED, Outcome.WARNING

LEVEL_1 = [check.name for check in CHECKS]

SERVERS: dict[str, tuple[Callable[[], list[str]], Outcome]] = {
    "go": (go_rpc_server, WARNING),
    "node": (node_rpc_server, WARNING),
    "ruby": (ruby_rpc_server, PASSED),  # Bunny connects again by itself
    "java": (java_rpc_server, PASSED),  # and so does RabbitMQ's client
}
"""What starts each, and how it fares when its connection is lost: who ends is started again."""

REHEARSAL_PATIENCE = 8.0 * TIMEOUT_FACTOR
START_TIMEOUT = 30.0 * TIMEOUT_FACTOR
"""Seconds: Bunny waits ten of them before it connects again."""


async def rating_of(url: str, command: list[str]) -> Rating:
    namespace = f"test-{uuid4().hex[:12]}"
    plan = plan_of(
        url, namespace, *command, patience=REHEARSAL_PATIENCE, start_timeout=START_TIMEOUT
    )
    return await rehearsed(plan, LEVEL_1)


async def test_every_server_is_a_worker_of_level_1(broker_url: str) -> None:
    commands = [command() for command, _ in SERVERS.values()]
    ratings = await asyncio.gather(*(rating_of(broker_url, command) for command in commands))
    for (language, (_, when_lost)), rating in zip(SERVERS.items(), ratings, strict=True):
        assert [result.check for result in rating.results] == LEVEL_1
        wrong = [each for each in rating.results if each.outcome not in {PASSED, WARNING}]
        assert not wrong, language
        result, redelivery = result_of(rating, "result"), result_of(rating, "redelivery")
        assert result.outcome is WARNING, language
        assert "does not have its reports confirmed" in result.text
        assert redelivery.outcome is when_lost, language


@pytest.mark.parametrize("language", SERVERS)
async def test_a_graph_runs_on_such_a_server(
    language: str, raw: RawClient, queue: JobQueue, broker_url: str, namespace: str
) -> None:
    command = SERVERS[language][0]()
    graph = Graph()
    first = graph.add("rehearsal", {"text": "größer"})
    second = graph.add("rehearsal", {"numbers": [1, 2.5]})
    last = graph.add("rehearsal", [first.result["text"], second.result["numbers"][1]])
    await queue.submit(graph)
    await raw.request("hello", {"worker": "raw", "types": ["rehearsal"]})
    # who consumes a queue too early may be cut off
    await raw.until_ready(raw.names.job_queue("rehearsal"), 2)
    async with WorkerProcess(command, broker_url, namespace):
        assert await queue.result(last, timeout=PATIENCE) == ["größer", 2.5]
    assert (await queue.info()).parked == 0
