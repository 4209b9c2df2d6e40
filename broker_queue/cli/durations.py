"""Spans of time as people write and read them: ``10m`` in, ``12 s ago`` out."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_UNITS = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "w": 604_800.0,
}
_PART = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>[a-z]+)\s*")


def parse_duration(text: str) -> float:
    """Return the seconds that `text` says: ``90``, ``1.5s``, ``10m``, ``1h30m``, ``2d``.

    Raises:
        ValueError: it is no duration; the text says how to write one.
    """
    cleaned = text.strip().lower()
    try:
        return _finite(float(cleaned), text)
    except ValueError:
        pass
    seconds, position = 0.0, 0
    while position < len(cleaned):
        part = _PART.match(cleaned, position)
        if part is None or part["unit"] not in _UNITS:
            raise _no_duration(text)
        seconds += float(part["number"]) * _UNITS[part["unit"]]
        position = part.end()
    if not cleaned:
        raise _no_duration(text)
    return seconds


def format_duration(seconds: float) -> str:
    """Return a span with two units at most: ``12 ms``, ``3.1 s``, ``1 min 15 s``, ``2 d 4 h``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for limit, big, big_name, small, small_name in (
        (60, 1, "s", 0, ""),
        (3600, 60, "min", 1, "s"),
        (86_400, 3600, "h", 60, "min"),
    ):
        if whole < limit:
            return _two_units(whole, (big, big_name), (small, small_name))
    return _two_units(whole, (86_400, "d"), (3600, "h"))


def format_age(then: datetime, now: datetime) -> str:
    """Return how long ago `then` was, or how far ahead: ``12 s ago``, ``in 3 min``."""
    seconds = (now - then).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    amount = abs(seconds)
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if amount >= size:
            text = f"{int(amount // size)} {name}"
            return f"in {text}" if seconds < 0 else f"{text} ago"
    raise AssertionError(amount)


def format_moment(moment: datetime, now: datetime) -> str:
    """Return the local clock time, with the date unless it is today's."""
    local, today = moment.astimezone(), now.astimezone()
    if local.date() == today.date():
        return f"{local:%H:%M:%S}"
    return f"{local:%Y-%m-%d %H:%M:%S}"


def current_time() -> datetime:
    """Return this machine's time: for showing ages only, nothing is decided by it."""
    return datetime.now(UTC)  # noqa: TID251  # an age on a screen


def _two_units(whole: int, big: tuple[int, str], small: tuple[int, str]) -> str:
    first, rest = divmod(whole, big[0])
    text = f"{first} {big[1]}"
    second = rest // small[0] if small[0] else 0
    return f"{text} {second} {small[1]}" if second else text


def _finite(seconds: float, text: str) -> float:
    if not 0 <= seconds < float("inf"):
        raise _no_duration(text)
    return seconds


def _no_duration(text: str) -> ValueError:
    return ValueError(f"{text!r} is no duration; write 90, 1.5s, 10m, 1h30m or 2d")
