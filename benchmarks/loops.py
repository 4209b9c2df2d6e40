"""The event loop of clients: uvloop's where it is installed, for everyone who has one."""

from __future__ import annotations

import asyncio


def make_runner() -> asyncio.Runner:
    """Return what runs coroutines until it is closed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
