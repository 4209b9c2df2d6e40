"""Workers as they named themselves. Soft state: each greets again every half minute."""

from __future__ import annotations

from broker_queue.protocol.messages import Hello, WorkerStatus

FORGOTTEN_AFTER = 3
"""Greetings missed."""

MAX_WORKERS = 10_000
"""Workers that are remembered; beyond, the one that has been silent longest is forgotten."""


class Workers:
    """Remembers greetings; bounded by the number of workers.

    Args:
        hello_interval: milliseconds between the greetings of a worker.
    """

    def __init__(self, hello_interval: int) -> None:
        self._lifetime = FORGOTTEN_AFTER * hello_interval
        self._known: dict[str, WorkerStatus] = {}

    def greet(self, hello: Hello, now: int) -> None:
        """Remember a worker, or forget one that stops."""
        before = self._known.get(hello.worker)
        if hello.stopping:
            self._known.pop(hello.worker, None)
            return
        self._known.pop(hello.worker, None)  # so that the order is that of the last greeting
        if len(self._known) >= MAX_WORKERS:
            del self._known[next(iter(self._known))]
        self._known[hello.worker] = WorkerStatus(
            worker=hello.worker,
            types=hello.types,
            channels=hello.channels,
            concurrency=hello.concurrency,
            running=hello.running,
            host=hello.host,
            pid=hello.pid,
            software=hello.software,
            since=before.since if before else now,
            seen=now,
            leases=hello.leases,
        )

    def is_known(self, name: str, now: int) -> bool:
        """Whether a worker of this name has greeted lately."""
        worker = self._known.get(name)
        return worker is not None and worker.seen + self._lifetime > now

    def served(self, now: int) -> set[tuple[str, str]]:
        """Return type and channel of each queue that workers named lately."""
        return {
            (job_type, channel)
            for worker in self.listed(now)
            for job_type in worker.types
            for channel in worker.channels
        }

    def listed(self, now: int) -> list[WorkerStatus]:
        """Return the workers that greeted lately, by name."""
        self._known = {
            name: worker
            for name, worker in self._known.items()
            if worker.seen + self._lifetime > now
        }
        return [self._known[name] for name in sorted(self._known)]
