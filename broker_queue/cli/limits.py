"""What a job, or a command line, may say of itself, refused in words.

The scheduler has the last word, in the terms of the wire's models; here the same bounds are told
before anything is sent, with units and without regular expressions.
"""

from __future__ import annotations

import os
import re
from typing import Any

LONGEST_SPAN = 315_360_000.0
MAX_LABEL = 200
MAX_ATTEMPTS = 1_000
MAX_PRIORITY = 9
MAX_FACTOR = 100
MAX_CONCURRENCY = 10_000
MAX_PROCESSES = 1_000
"""More than any machine has use for; each is an interpreter and two connections to the broker."""

MAX_POINTER = 2_000
LAST_PAGE = 1 << 53
MAX_MESSAGE = 1 << 27
"""Bytes: what a message of RabbitMQ 3.10 may have at most."""

_WORD = r"[A-Za-z0-9_.:-]"
_LETTERS = "letters (a to z, A to Z), digits and _ . : -"


def job_type(text: str) -> str:
    """Return the name of a job type.

    Raises:
        ValueError: it cannot be one.
    """
    return _name(text, 1, 100, "a type")


def channel(text: str) -> str:
    """Return the name of a channel, or the empty one.

    Raises:
        ValueError: it cannot be one.
    """
    return _name(text, 0, 60, "a channel")


def label(text: Any) -> str:
    """Return a name for people.

    Raises:
        ValueError: it is too long, or no text.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected text, got {text!r}")  # all are told alike
    if len(text) > MAX_LABEL:
        raise ValueError(f"has {len(text):,} characters, at most {MAX_LABEL} are allowed")
    return text


def span(seconds: float, *, above_zero: bool = False) -> float:
    """Return a span of time.

    Raises:
        ValueError: it is longer than ten years, or nothing where that means nothing.
    """
    if not seconds >= 0 or (above_zero and not seconds):
        raise ValueError("must be longer than 0 s" if above_zero else "must not be negative")
    if seconds > LONGEST_SPAN:
        raise ValueError("is longer than ten years (3650d)")
    return seconds


def whole(value: Any, low: int, high: int) -> int:
    """Return a whole number.

    Raises:
        ValueError: it is out of bounds, or none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {value!r}")  # all alike
    if not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high:,}, got {value}")
    return value


def number(value: Any, low: int, high: int) -> float:
    """Return a number.

    Raises:
        ValueError: it is out of bounds, or none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"expected a number from {low} to {high}, got {value!r}")
    return value


def whole_in(text: str, low: int, high: int, what: str = "a whole number", also: str = "") -> int:
    """Return the whole number that is written there; `also` names what may stand in its place.

    Raises:
        ValueError: it is out of bounds, or none.
    """
    try:
        return whole(int(text), low, high)
    except ValueError:
        raise ValueError(f"expected {what} from {low} to {high:,}{also}, got {text!r}") from None


def process_count(text: str) -> int:
    """Return a number of processes; ``auto`` is one for each CPU that this process may use.

    Raises:
        ValueError: it is out of bounds, or none.
    """
    if text == "auto":
        return min(_usable_cpus(), MAX_PROCESSES)
    return whole_in(text, 1, MAX_PROCESSES, also=", or auto")


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pointer(text: str) -> str:
    """Return a JSON pointer (RFC 6901).

    Raises:
        ValueError: it is none, or too long.
    """
    if text and not text.startswith("/"):
        raise ValueError('a JSON pointer begins with "/"')
    if re.search(r"~(?![01])", text):
        raise ValueError('in a JSON pointer "~" is written "~0"')
    if len(text) > MAX_POINTER:
        raise ValueError(f"has {len(text):,} characters, at most {MAX_POINTER:,} are allowed")
    return text


def _name(text: str, shortest: int, longest: int, what: str) -> str:
    if re.fullmatch(f"{_WORD}{{{shortest},{longest}}}", text):
        return text
    if len(text) > longest:
        raise ValueError(f"{what} has at most {longest} characters, this has {len(text):,}")
    raise ValueError(f"{text!r} is not the name of {what}: {_LETTERS} are allowed")
