"""What a contender is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.workloads import Plan

VARIABLE = "BROKER_QUEUE_BENCHMARK"
"""Environment variable with the place, for processes that a contender's own command starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a contender works.

    Args:
        broker: AMQP URL.
        redis: URL, for the results of those that keep them there.
        folder: for whatever it writes.
        namespace: first part of the names of queues; no other life of a contender has it that was
            killed with messages left.
        confirms: peers that can do without confirms wait for them.
    """

    broker: str
    redis: str = ""
    folder: str = ""
    namespace: str = "bench"
    confirms: bool = True

    @property
    def environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Place:
        return cls(**json.loads(os.environ[VARIABLE]))

    def marker(self, run: str, job: int) -> str:
        """Return the file by which a job that fails once knows its first attempt."""
        return str(Path(self.folder) / f"{run}-{job}")


class Contender(Protocol):
    """A system that does plans."""

    def why_not(self, plan: Plan) -> str | None:
        """Return why it cannot express a plan, or None if it can."""

    def start(self) -> None:
        """Start its processes; return when they take jobs."""

    def run(self, plan: Plan, run: str) -> list[int]:
        """Do a plan: from the first enqueue until every result is known here.

        Args:
            plan: what to do.
            run: a name that no other run has.
        """

    @property
    def pids(self) -> list[int]:
        """Its processes other than this one."""

    def stop(self) -> None:
        """Stop them."""
