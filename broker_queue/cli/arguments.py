"""What several commands take in the same way: jobs, a graph, spans of time, texts within limits.

An option that is read here is refused before anything is connected, by its name and in words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeVar

import typer

from broker_queue.cli import limits
from broker_queue.cli.durations import parse_duration

T = TypeVar("T")


def read_as(read: Callable[[str], T]) -> Callable[[str], T]:
    """Return `read` for an option: what it refuses is told with the option's name."""

    def parse(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse


def _given(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty, as a shell makes it of a variable that is not set")
    return text


given_text = read_as(_given)
"""Refuses what a shell makes of a variable that is not set."""


def _longer_than_nothing(text: str) -> float:
    return limits.span(parse_duration(text), above_zero=True)


def _span(text: str) -> float:
    return limits.span(parse_duration(text))


def whole_number(low: int, high: int, what: str = "a whole number") -> Callable[[str], int]:
    """Return what reads a whole number within these bounds; a refusal says `what` was expected."""
    return read_as(partial(limits.whole_in, low=low, high=high, what=what))


positive_duration = read_as(_longer_than_nothing)
duration = read_as(_span)
job_type = read_as(limits.job_type)
channel = read_as(limits.channel)
label = read_as(limits.label)
process_count = read_as(limits.process_count)

JobsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[JOB]...", help="Ids, or last, or last/NAME; a graph's id.", show_default=False
    ),
]
SomeJobs = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB...", help="Ids, or last, or last/NAME; a graph's id.", show_default=False
    ),
]
GraphOption = Annotated[
    str | None,
    typer.Option("--graph", metavar="GRAPH", help="All jobs of this graph (id or last)."),
]
