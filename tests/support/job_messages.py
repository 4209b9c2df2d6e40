"""Messages in a job queue that are no jobs."""

from __future__ import annotations

from typing import Any

WRONG_HEADERS: list[dict[str, Any]] = [
    {"dependencies": 5},
    {"dependencies": ["no id"]},
    {"dependency_count": "many"},
    {"attempt": None},
    {"attempt": 0},
    {"max_attempts": True},
    {"timeout": "long"},
    {"timeout": -1},
    {"channel": "no spaces"},
    {"name": 7},
    {"graph": "no id"},
    {"traceparent": "x" * 1_000},
    {"protocol": 2},
    {"protocol": "one"},
]
"""Each makes the headers of a job wrong; the name of the header is the key."""
