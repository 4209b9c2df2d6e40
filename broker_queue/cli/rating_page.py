"""A check of the conformance kit, and the level, as people see them."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from rich.text import Text

from broker_queue.cli.escaping import printable_lines
from broker_queue.conformance.verdict import LEVELS, Outcome, Rating, Result

MARKS = {
    Outcome.PASSED: ("✓", "green"),
    Outcome.WARNING: ("!", "yellow"),
    Outcome.FAILED: ("✗", "red"),
    Outcome.UNCHECKED: ("·", "dim"),
}

NAME_WIDTH = 17
"""Of the longest name of a check."""

ARROW = "→ "
"""Before what is to be changed."""

MIN_ROOM = 20
"""Columns for the text, however narrow the terminal is."""


def check_lines(result: Result, width: int | None = None) -> Iterator[Text]:
    """Return what is shown of a check: what was seen, then what to change.

    Args:
        result: of the check.
        width: columns of a terminal; without it, nothing is wrapped, for who searches in it.
    """
    mark, style = MARKS[result.outcome]
    label = f" {result.level}  {result.check:<{NAME_WIDTH}}  "
    indent = " " * (len(label) + 1)
    text = result.text
    if result.outcome in (Outcome.FAILED, Outcome.UNCHECKED):
        text = f"{result.title}: {text}"
    room = None if width is None else max(width - len(indent), MIN_ROOM)
    said, *more = printable_lines(text).split("\n")
    first, *others = _fitting(said, room)
    yield Text.assemble((mark, style), label, first)
    for line in others:
        yield Text(f"{indent}{line}")
    less = "" if result.outcome is Outcome.WARNING else "dim"  # output of the worker, say
    for line in _fitting("\n".join(more), room) if more else ():
        yield Text(f"{indent}{line}", style=less)
    for advice in result.advice.split("\n") if result.advice else ():
        for number, line in enumerate(_fitting(advice, room and room - len(ARROW))):
            yield Text(f"{indent}{' ' * len(ARROW) if number else ARROW}{line}")


def _fitting(text: str, room: int | None) -> list[str]:
    """Return the lines of a text, broken between words where they are too long."""
    lines = text.split("\n")
    if room is None:
        return lines
    return [
        part
        for line in lines
        for part in wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""]
    ]


def _level(rating: Rating) -> tuple[str, str]:
    if rating.level is None:
        return "Some checks only", "bold"
    if not rating.level:
        return "No level is reached", "bold red"
    return f"Level {rating.level} of {LEVELS[-1]}", "bold green"


def counts(rating: Rating) -> str:
    """Return how many checks went how."""
    return ", ".join(
        f"{rating.count(outcome)} {word}"
        for outcome, word in (
            (Outcome.PASSED, "passed"),
            (Outcome.WARNING, "passed with a warning"),
            (Outcome.FAILED, "failed"),
            (Outcome.UNCHECKED, "not checked"),
        )
        if rating.count(outcome)
    )


def rating_line(rating: Rating) -> Text:
    """Return the level, and how many checks went how."""
    line = Text.assemble(_level(rating), f": {counts(rating)}")
    if rating.unchecked:
        names = ", ".join(result.check for result in rating.unchecked)
        line.append(f"; this level needs, and nobody looked at: {names}")
    return line
