"""The one clock, and the one source of chance. Everything else gets them as arguments."""

from __future__ import annotations

import random
import time


def now() -> int:
    """Return milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def chance() -> float:
    """Return a number from 0 to 1, for jitter."""
    return random.random()  # noqa: S311  # spreads retries; nothing secret
