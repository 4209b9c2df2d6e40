"""Celery: one worker with two processes of its prefork pool; results in Redis.

Its settings are those that its documentation advises for many short jobs, without loss: late
acknowledgement, a prefetch above the default of four for each process, confirms.

Between two groups stands a job that passes on what it gets: of three groups in a row, Celery 5.7
starts the third once for each job of the second, with that job's result alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import celery
from celery.result import AsyncResult

from benchmarks import work
from benchmarks.contenders.contender import Place
from benchmarks.processes import Processes
from benchmarks.workloads import Plan, Strand, Submission

PROCESSES = 2
HUNDRED = 100
START_TIMEOUT = 60.0
SOON = 0.05

PLACE = Place.from_environment()

app = celery.Celery("bench", broker=PLACE.broker, backend=PLACE.redis)
app.conf.update(
    task_default_queue=f"{PLACE.namespace}-celery",
    broker_transport_options={"confirm_publish": PLACE.confirms},
    task_acks_late=True,
    worker_prefetch_multiplier=50,
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


def _run(self: Any, *given: Any, salt: int, marker: str | None = None) -> int:
    parents = given[0] if given and isinstance(given[0], list) else list(given)
    try:
        return work.checksum(salt, parents, marker)
    except work.PlannedFailure as failure:
        raise self.retry(exc=failure, countdown=SOON, max_retries=1) from None


def _pass_on(*given: Any) -> Any:
    return given[0] if given else None


checksum: Any = app.task(_run, name="checksum", bind=True)
pass_on: Any = app.task(_pass_on, name="pass_on")


class Celery:
    """A client in this process, one worker with two pool processes."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._processes = Processes(Path(place.folder), place.environment)

    def why_not(self, plan: Plan) -> str | None:
        if plan.strands is None:
            return "canvas has chains, groups and chords, and no graph"
        if plan.milestones:
            return "has none"
        if plan.submission is Submission.AT_ONCE:
            return "has no asynchronous client"
        return None

    @property
    def pids(self) -> list[int]:
        return self._processes.pids

    def start(self) -> None:
        options = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._processes.start(
            "celery-worker",
            [
                sys.executable, "-m", "celery", "-A", "benchmarks.contenders.celery:app", "worker",
                "--concurrency", str(PROCESSES), "--loglevel", "WARNING", *options,
            ],
        )  # fmt: skip
        checksum.apply_async(kwargs={"salt": 0}).get(timeout=START_TIMEOUT)

    def run(self, plan: Plan, run: str) -> list[int]:
        assert plan.strands is not None
        results: dict[int, AsyncResult[int]] = {}
        if plan.submission is Submission.HUNDREDS:
            positions = iter(range(len(plan.tasks)))
            while hundred := list(islice(positions, HUNDRED)):
                sent = celery.group(
                    self._signature(plan, run, each) for each in hundred
                ).apply_async()
                results.update(zip(hundred, sent.results, strict=True))
        else:
            for strand in plan.strands:
                results.update(self._send(plan, run, strand))
        # one after the other: join_native sleeps for up to half a second when the last has come
        return [results[position].get() for position in range(len(plan.tasks))]

    def stop(self) -> None:
        self._processes.stop()
        app.close()

    def _send(self, plan: Plan, run: str, strand: Strand) -> dict[int, AsyncResult[int]]:
        """Send one strand, whose task ids are made here so that each result can be asked for."""
        stages = [[self._signature(plan, run, each) for each in stage] for stage in strand]
        if len(stages) == len(stages[0]) == 1:
            return {strand[0][0]: stages[0][0].apply_async()}
        for stage in stages:
            for signature in stage:
                signature.set(task_id=celery.utils.uuid())
        ids = {
            position: signature.options["task_id"]
            for positions, signatures in zip(strand, stages, strict=True)
            for position, signature in zip(positions, signatures, strict=True)
        }
        _canvas(stages).apply_async()
        return {position: AsyncResult(each, app=app) for position, each in ids.items()}

    def _signature(self, plan: Plan, run: str, position: int) -> Any:
        task = plan.tasks[position]
        kwargs: dict[str, Any] = {"salt": task.salt}
        if task.fails_once:
            kwargs["marker"] = self._place.marker(run, position)
        return checksum.signature(kwargs=kwargs, immutable=not plan.passes_results)


def _canvas(stages: Sequence[Sequence[Any]]) -> Any:
    """Return a chain of single jobs and groups; Celery makes chords of groups that go on."""
    links: list[Any] = []
    for stage in stages:
        if len(stage) > 1 and links and isinstance(links[-1], celery.group):
            links.append(pass_on.signature(immutable=stage[0].immutable))
        links.append(stage[0] if len(stage) == 1 else celery.group(stage))
    return celery.chain(*links)
