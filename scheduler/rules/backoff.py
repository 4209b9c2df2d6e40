"""How long a job waits before its next attempt."""

from __future__ import annotations

import msgspec


class Backoff(msgspec.Struct, frozen=True):
    """``initial * factor ** (attempt - 1)`` up to `maximum`; times in milliseconds.

    The share `jitter` of the wait is left to chance, so that jobs that failed together do not come
    back together.
    """

    initial: int = 1_000
    factor: float = 2.0
    maximum: int = 3_600_000
    jitter: float = 0.2


DEFAULT_BACKOFF = Backoff()
MAX_EXPONENT = 1_000
"""More attempts than this wait no longer, and must not overflow a float."""


def delay_before_retry(backoff: Backoff | None, attempt: int, chance: float) -> int:
    """Return the milliseconds to wait after `attempt` (from 1) failed; `chance` is 0 to 1."""
    rule = backoff or DEFAULT_BACKOFF
    try:
        full = rule.initial and rule.initial * rule.factor ** min(attempt - 1, MAX_EXPONENT)
    except OverflowError:
        full = float(rule.maximum)
    return round(min(full, rule.maximum) * (1.0 - rule.jitter * chance))
