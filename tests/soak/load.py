"""What clients of a soak do: graphs whose results are known, one after the other."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from broker_queue.client import JobQueue
from broker_queue.graph import Graph, JobHandle
from broker_queue.job import State
from broker_queue.protocol.messages import Backoff

WIDTH = 30
"""Jobs in each of the two layers of a graph."""

CANCELED = 0.1
"""Share of the graphs that are canceled while they run."""

LONG = 1.5
"""Seconds of one job of each graph; the settings of a soak make that a case for a lease."""

SOON = Backoff(initial=0.05)


@dataclass(slots=True)
class Tally:
    """What came of the load so far."""

    jobs: int = 0
    graphs: int = 0
    states: Counter[State] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


async def load(queue: JobQueue, chance: random.Random, tally: Tally, ending: asyncio.Event) -> None:
    """Submit a graph, wait for its end, look at its result; again, until `ending` is set."""
    while not ending.is_set():
        graph, last, expected = _graph(chance)
        await queue.submit(graph)
        if chance.random() < CANCELED:
            await asyncio.sleep(chance.uniform(0, LONG))
            await queue.cancel_graph(graph.id)
        status = await queue.wait(last)
        if status.state is State.FINISHED:
            if status.result != expected:
                tally.wrong.append(f"{last} gave {status.result}, not {expected}")
        elif status.state is not State.CANCELED:
            tally.wrong.append(f"{last} is {status.state}: {status.error}")
        tally.graphs += 1
        tally.jobs += len(graph.jobs)
        tally.states[status.state] += 1


def _graph(chance: random.Random) -> tuple[Graph, JobHandle, int]:
    """Return two layers with a milestone between them, the job that adds up, and its result."""
    graph = Graph(name="soak")
    first = [_add(graph, [], seconds=LONG if number == 0 else 0.0) for number in range(WIDTH)]
    milestone = graph.milestone(first)
    second = [
        _add(graph, [parent], after=[milestone], succeed_at=2 if number == 0 else 1)
        for number, parent in enumerate(chance.sample(first, WIDTH))
    ]
    return graph, _add(graph, second), 1 + 2 * WIDTH


def _add(
    graph: Graph,
    inputs: list[JobHandle],
    *,
    after: list[JobHandle] | None = None,
    seconds: float = 0.0,
    succeed_at: int = 1,
) -> JobHandle:
    args = {
        "seconds": seconds,
        "succeed_at": succeed_at,
        "inputs": [each.result for each in inputs],
    }
    return graph.add("work", args, after or [], max_attempts=2, backoff=SOON)
