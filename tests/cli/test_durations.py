"""Spans of time, read and shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker_queue.cli.durations import format_age, format_duration, parse_duration

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("500ms", 0.5),
        ("10m", 600),
        ("10 min", 600),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        (" 10M ", 600),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "ten", "10x", "m10", "-5", "nan", "inf", "1h30", "1e400"]
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 90, 1\.5s, 10m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (0.9996, "1.0 s"),
        (3.14, "3.1 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (75, "1 min 15 s"),
        (3600, "1 h"),
        (3720, "1 h 2 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_shown_in_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "just now"),
        (12, "12 s ago"),
        (119, "1 min ago"),
        (7200, "2 h ago"),
        (3 * 86_400, "3 d ago"),
        (-300, "in 5 min"),
    ],
)
def test_ages_are_shown_in_one_unit(seconds: float, text: str) -> None:
    assert format_age(NOW - timedelta(seconds=seconds), NOW) == text
