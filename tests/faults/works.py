"""Which graphs are submitted, canceled and retried: everything follows from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from broker_queue.graph import Edge, Graph, JobHandle
from broker_queue.job import Condition, JobId
from broker_queue.protocol.fields import DEFAULT_PRIORITY
from broker_queue.protocol.messages import Backoff
from tests.faults.plan import Victim

CLAIMED = "claimed"
"""The job type whose jobs are claimed before each start."""
TYPES = ("step", "other", CLAIMED)
CHANNELS = {Victim.WORKER_1: ("", "red"), Victim.WORKER_2: ("", "blue")}
"""Channels that each worker takes."""
QUEUES = [(kind, channel) for kind in TYPES for channel in ("", "red", "blue")]

GENEROUS_LIMIT = 600.0
"""Seconds: a time limit that no run reaches, whatever is killed or stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCancel:
    """A cancel that follows a submit.

    Attributes:
        job: which of the graph; None: all of it.
        dependents: together with what depends on it.
        after: seconds after the submit was confirmed.
    """

    job: JobId | None
    dependents: bool
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRetry:
    """A retry by hand that follows a submit, and the cancel if there is one.

    Attributes:
        job: which of the graph, once it has ended; None: all of it that has failed by then.
        after: seconds after the submit or the cancel was confirmed.
        again: ask once more, as a client would that had not heard the answer.
    """

    job: JobId | None
    after: float
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A graph, and what its client does besides submitting it."""

    graph: Graph
    cancel: PlannedCancel | None
    retry: PlannedRetry | None
    again: bool
    """Submit it once more, as a client would that had not heard the answer."""
    wait_for: JobId | None


class _Shapes:
    """Graphs of every kind."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._earlier: list[JobId] = []

    def chain(self, graph: Graph) -> None:
        """Each job takes a part of the result of the one before."""
        before: JobHandle | None = None
        for _ in range(self._chance.randint(2, 8)):
            inputs = {} if before is None else {before.id: before.result["run"]}
            before = self.job(graph, inputs=inputs)

    def fan(self, graph: Graph) -> None:
        """One job, many that need it, and one that needs all of them, or their milestone."""
        first = self.job(graph)
        middle = [self.job(graph, [first]) for _ in range(self._chance.randint(5, 50))]
        if self._chance.random() < 0.5:
            last = self.job(graph, [graph.milestone(middle)])
        else:
            chosen = self._chance.sample(middle, 3)
            last = self.job(graph, middle, inputs={job.id: job.result["run"] for job in chosen})
        self.job(graph, [last])

    def mesh(self, graph: Graph) -> None:
        """Any job may need any that stands before it, and some jobs of earlier graphs."""
        jobs: list[JobHandle] = []
        for _ in range(self._chance.randint(6, 25)):
            chosen = self._chance.sample(jobs, min(len(jobs), self._chance.choice((0, 1, 1, 2, 4))))
            edges: list[Edge | JobId] = [self._edge(job) for job in chosen]
            if self._earlier and self._chance.random() < 0.2:
                old = self._chance.choice(self._earlier)
                edges.append(Edge(old, Condition.ANY))
            jobs.append(self.job(graph, edges, **self._attempts()))
        self._earlier = [*self._earlier, *(job.id for job in jobs)][-50:]

    def attempts(self, graph: Graph) -> None:
        """Jobs that fail at first, or at last, and jobs that run because of it."""
        for _ in range(self._chance.randint(3, 9)):
            job = self.job(graph, **self._attempts(always=True))
            self.job(graph, [job.failed])
            self.job(graph, [job.ended])
            self.job(graph, [self.job(graph, [job])])

    def growing(self, graph: Graph) -> None:
        """A running job adds jobs, and lets one that waits for itself wait for those too."""
        starter = self.job(graph)
        join = self._id()
        grow = [self.args() for _ in range(self._chance.randint(1, 6))]
        grower = self.job(graph, [starter], grow=grow, join=join, **self._attempts())
        self.job(graph, [graph.add("step", self.args(), [grower], id=join)])

    def limited(self, graph: Graph) -> None:
        """Jobs that run into their time limit at first, or at last, and jobs that run because of it."""
        for _ in range(self._chance.randint(1, 4)):
            limit = round(self._chance.uniform(0.2, 0.6), 2)
            attempts = self._attempts(always=True)
            job = self.job(graph, overrun=True, timeout=limit, **attempts)
            self.job(graph, [job.failed])
            self.job(graph, [job.ended])

    def delayed(self, graph: Graph) -> None:
        """Jobs that wait for a time, alone and in a line."""
        for _ in range(self._chance.randint(1, 5)):
            job = self.job(graph, delay=round(self._chance.uniform(0.1, 1.5), 2))
            self.job(graph, [job], delay=round(self._chance.uniform(0.1, 0.5), 2))

    def crowd(self, graph: Graph) -> None:
        """Many jobs that need nothing: some are with a worker, others in the queue or in line."""
        for _ in range(self._chance.randint(10, 60)):
            self.job(graph)

    def single(self, graph: Graph) -> None:
        """One job."""
        self.job(graph)

    def job(
        self,
        graph: Graph,
        dependencies: Any = (),
        *,
        inputs: dict[JobId, Any] | None = None,
        succeed_at: int = 1,
        grow: list[Any] | None = None,
        join: JobId | None = None,
        overrun: bool = False,
        **options: Any,
    ) -> JobHandle:
        """Add a job whose args say what it does."""
        args = self.args(succeed_at) | {"inputs": inputs or {}}
        if grow:
            args |= {"grow": grow, "join": join}
        if overrun:
            args |= {"work": 0.0, "overrun": True}
        elif self._chance.random() < 0.1:
            options["timeout"] = GENEROUS_LIMIT
        kind = self._chance.choice(("step", "step", *TYPES))
        channel = self._chance.choice(("", "", "", "", "red", "blue"))
        priority = self._chance.choice((DEFAULT_PRIORITY, DEFAULT_PRIORITY, 0, 9))
        return graph.add(
            kind, args, dependencies, id=self._id(), channel=channel, priority=priority, **options
        )

    def args(self, succeed_at: int = 1) -> dict[str, Any]:
        """Return args: most jobs are short, a longer one is reported as started, some need leases."""
        work = self._chance.choice((0.0, 0.0, 0.01, 0.02, 0.1, 0.25))
        if self._chance.random() < 0.05:
            work = self._chance.choice((0.6, 1.0))
        return {"work": work, "succeed_at": succeed_at}

    def _id(self) -> JobId:
        return JobId(str(UUID(int=self._chance.getrandbits(128), version=4)))

    def _attempts(self, *, always: bool = False) -> dict[str, Any]:
        if not always and self._chance.random() < 0.7:
            return {}
        backoff = Backoff(initial=self._chance.choice((0.0, 0.0, 0.1)), factor=1.5)
        return {
            "max_attempts": self._chance.randint(2, 4),
            "succeed_at": self._chance.randint(1, 5),
            "backoff": backoff,
        }

    def _edge(self, job: JobHandle) -> Edge:
        conditions = (Condition.SUCCESS, Condition.SUCCESS, Condition.ANY, Condition.FAILURE)
        return Edge(job.id, self._chance.choice(conditions))


def works(seed: int, client: int | str, *, is_eager: bool = False) -> Iterator[Work]:
    """Yield what one client does, without end; one that is eager cancels and retries more, at once."""
    chance = random.Random(f"{seed} work of client {client}")
    shapes = _Shapes(chance)
    kinds: list[tuple[Callable[[Graph], None], int]] = [
        (shapes.chain, 3), (shapes.fan, 2), (shapes.mesh, 3), (shapes.attempts, 4),
        (shapes.growing, 3), (shapes.limited, 2), (shapes.delayed, 1), (shapes.crowd, 1), (shapes.single, 2),
    ]  # fmt: skip
    while True:
        (build,) = chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        graph = Graph()
        build(graph)
        cancel = retry = None
        if chance.random() < (0.7 if is_eager or build == shapes.crowd else 0.2):
            whole = build in (shapes.growing, shapes.crowd) or chance.random() < 0.3
            cancel = PlannedCancel(
                job=None if whole else JobId(chance.choice(graph.jobs).id),
                dependents=not whole and chance.random() < 0.4,
                after=0.0 if is_eager else chance.choice((0.0, 0.05, 0.3, 1.0)),
            )
        may_be_retried = build != shapes.growing  # a copy of a grower would grow anew
        if may_be_retried and chance.random() < (0.8 if is_eager else 0.4):
            retry = PlannedRetry(
                job=None if chance.random() < 0.5 else JobId(chance.choice(graph.jobs).id),
                after=0.0 if is_eager else chance.choice((0.0, 0.3, 1.0, 3.0)),
                again=chance.random() < 0.3,
            )
        watched = JobId(chance.choice(graph.jobs).id) if chance.random() < 0.3 else None
        again = chance.random() < 0.1
        yield Work(graph=graph, cancel=cancel, retry=retry, again=again, wait_for=watched)
