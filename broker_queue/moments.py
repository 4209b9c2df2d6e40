"""Times and durations between Python and the wire, which has milliseconds and seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(milliseconds: int) -> datetime:
    """Return a moment of the wire in UTC; the year 9999 is the last that Python knows."""
    return EPOCH + timedelta(milliseconds=min(milliseconds, _LAST))


def from_milliseconds_or_none(milliseconds: int | None) -> datetime | None:
    """Return a moment that may not have come."""
    return None if milliseconds is None else from_milliseconds(milliseconds)


def to_milliseconds(moment: datetime) -> int:
    """Return a moment with a time zone as the wire has it."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def to_seconds(duration: timedelta | float | None) -> float | None:
    """Return a duration, given as seconds or as a timedelta, in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def iso(moment: datetime) -> str:
    """Return a moment as ISO 8601 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
