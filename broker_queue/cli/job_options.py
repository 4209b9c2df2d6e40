"""Options of a job as a graph file gives them, turned into what `new_job` takes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from broker_queue.cli import limits
from broker_queue.cli.durations import parse_duration
from broker_queue.protocol.messages import Backoff

Complain = Callable[[str, str], None]
"""Takes the option's name and what is wrong with it."""


def read_options(given: Mapping[str, Any], complain: Complain) -> dict[str, Any]:
    """Return the options in the types of the wire; what cannot be one is told to `complain`."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        try:
            found[name] = _READERS[name](value)
        except (TypeError, ValueError) as error:
            complain(name, str(error))
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def _channel(value: Any) -> str:
    return limits.channel(_text(value))


def _priority(value: Any) -> int:
    return limits.whole(value, 0, limits.MAX_PRIORITY)


def _attempts(value: Any) -> int:
    return limits.whole(value, 1, limits.MAX_ATTEMPTS)


def _duration(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"expected a duration such as 90 or 10m, got {value!r}")
    return limits.span(parse_duration(value) if isinstance(value, str) else float(value))


def _timeout(value: Any) -> float:
    return limits.span(_duration(value), above_zero=True)


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value))
    except ValueError:
        raise ValueError(f"{value!r} is no time; write 2026-01-31T18:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; write 2026-01-31T18:00:00Z")
    return moment


def _backoff(value: Any) -> Backoff:
    if not isinstance(value, dict):
        return Backoff(initial=_duration(value))
    known = ("initial", "factor", "maximum", "jitter")
    unknown = [name for name in value if name not in known]
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; there are {', '.join(known)}")
    spans = {name: _duration(value[name]) for name in ("initial", "maximum") if name in value}
    bounds = {"factor": (1, limits.MAX_FACTOR), "jitter": (0, 1)}
    shares = {name: limits.number(value[name], *bounds[name]) for name in bounds if name in value}
    return Backoff(**spans, **shares)


_READERS: dict[str, Callable[[Any], Any]] = {
    "channel": _channel,
    "priority": _priority,
    "max_attempts": _attempts,
    "timeout": _timeout,
    "delay": _duration,
    "available_at": _moment,
    "backoff": _backoff,
}
