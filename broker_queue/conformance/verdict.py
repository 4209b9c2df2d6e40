"""What the checks come to. Pure: results in, a level out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LEVELS = (1, 2, 3)


class Outcome(StrEnum):
    """How a check went."""

    PASSED = "passed"
    WARNING = "warning"
    """Passed, and something is not as it should be."""
    FAILED = "failed"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Result:
    """What one check has found.

    Attributes:
        check: its name.
        level: of a worker, which needs it.
        title: what must hold.
        text: what was seen.
        advice: what to change; empty when nothing is to be changed.
        seconds: that it took.
    """

    check: str
    level: int
    title: str
    outcome: Outcome
    text: str
    advice: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rating:
    """All results of one worker."""

    job_type: str
    results: Sequence[Result]

    @property
    def level(self) -> int:
        """The level that the worker reaches; 0 is none.

        A level is reached when nothing that it or a lower one needs has failed, and something of it
        was checked.
        """
        reached = 0
        for level in LEVELS:
            outcomes = {result.outcome for result in self.results if result.level == level}
            if Outcome.FAILED in outcomes or not outcomes & {Outcome.PASSED, Outcome.WARNING}:
                break
            reached = level
        return reached

    @property
    def unchecked(self) -> list[Result]:
        """What the level that is reached would need, and was not checked."""
        return [
            result
            for result in self.results
            if result.outcome is Outcome.UNCHECKED and result.level <= self.level
        ]

    def count(self, outcome: Outcome) -> int:
        """Return how many checks went so."""
        return sum(result.outcome is outcome for result in self.results)
