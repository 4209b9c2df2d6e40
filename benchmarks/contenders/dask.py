"""Dask distributed: a scheduler and two workers with a thread each, all in memory."""

from __future__ import annotations

from typing import Any

from distributed import Client, LocalCluster

from benchmarks import work
from benchmarks.contenders.contender import Place
from benchmarks.workloads import Plan, Submission

WORKERS = 2
HUNDRED = 100
ATTEMPTS = 5
"""A job that fails once fails once in all: what it remembers is a file."""


class Dask:
    """A client in this process, the scheduler in another of its threads, two worker processes."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._cluster: Any = None
        self._client: Any = None

    def why_not(self, plan: Plan) -> str | None:
        if plan.milestones:
            return "has none"
        if not plan.passes_results:
            return "every edge passes a result"
        if plan.submission is Submission.AT_ONCE:
            return "the client gathers calls by itself: see one by one"
        return None

    @property
    def pids(self) -> list[int]:
        if self._cluster is None:
            return []
        return [worker.pid for worker in self._cluster.workers.values()]

    def start(self) -> None:
        self._cluster = LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            dashboard_address=None,
            host="127.0.0.1",
            local_directory=self._place.folder,
        )
        self._client = Client(self._cluster)
        self._client.submit(work.checksum, 0, pure=False).result()

    def run(self, plan: Plan, run: str) -> list[int]:
        if plan.submission is Submission.HUNDREDS:
            futures = []
            for start in range(0, len(plan.tasks), HUNDRED):
                salts = [task.salt for task in plan.tasks[start : start + HUNDRED]]
                futures += self._client.map(work.checksum, salts, pure=False)
        else:
            futures = []
            for position, task in enumerate(plan.tasks):
                marker = self._place.marker(run, position) if task.fails_once else None
                futures.append(
                    self._client.submit(
                        work.checksum,
                        task.salt,
                        [futures[parent] for parent in task.parents],
                        marker,
                        pure=False,
                        retries=1 if task.fails_once else 0,
                    )
                )
        results: list[int] = self._client.gather(futures)
        return results

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._cluster.close()
