"""Where one part is measured: a broker, a namespace, a folder, and how large everything is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.contenders.contender import Place
from benchmarks.contenders.ours import Ours

Row = dict[str, Any]
"""One answer: names → figures."""

LEAST = 100
"""Jobs, at however small a scale."""

SECOND_WORKER = "benchmarks.scale.second_worker:worker"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a part finds.

    Args:
        place: broker, namespace and folder, of this part alone.
        scale: share of the jobs of a full run.
        say: is called with a line now and then.
    """

    place: Place
    scale: float
    say: Callable[[str], None]

    def scaled(self, jobs: int) -> int:
        return max(LEAST, round(jobs * self.scale))

    @contextmanager
    def ours(self) -> Iterator[Ours]:
        """A scheduler, a worker for the many jobs, and a second one for the unrelated ones."""
        ours = Ours(self.place)
        try:
            ours.start()
            ours.start_worker(SECOND_WORKER)
            yield ours
        finally:
            ours.stop()
