"""What a check is, and how it says that something does not hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from broker_queue.conformance.stage import Stage


class Unmet(Exception):
    """What a check looks for does not hold.

    Args:
        text: what was seen.
        advice: what to change.
        ends: nothing after this check can be looked at.
    """

    def __init__(self, text: str, advice: str, *, ends: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.advice = advice
        self.ends = ends


class Unchecked(Exception):
    """A check cannot be made; the text says what it would need."""


class Check(NamedTuple):
    """One thing that is looked at."""

    name: str
    title: str
    run: Callable[[Stage], Awaitable[str]]
    """Returns what it has seen.

    Raises:
        Unmet: it does not hold.
        Unchecked: it cannot be looked at.
    """
