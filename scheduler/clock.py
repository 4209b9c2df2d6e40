"""The one clock. Everything else gets the time as an argument."""

from __future__ import annotations

import time


def now() -> int:
    """Return milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000
