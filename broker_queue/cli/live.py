"""The boards of ``watch``: bars that move on a terminal, plain lines everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from broker_queue.cli.durations import format_duration, format_moment
from broker_queue.cli.escaping import escaped, printable
from broker_queue.cli.job_page import DIM
from broker_queue.cli.states import MARKS, STYLES, bar, counts_text, state_text
from broker_queue.cli.tally import RunningJob, Snapshot
from broker_queue.job import State

if TYPE_CHECKING:
    from broker_queue.status import JobEvent

MAX_TYPES = 20
MAX_BAR = 40
MIN_BAR = 10
SMALL_BAR = 10
MAX_FAILURES = 10
"""Failures that are told above the bars; a thousand would push them off the screen."""


def snapshot_page(snapshot: Snapshot, width: int, now: datetime) -> RenderableType:
    """Return bars for each type, then the running jobs with their progress."""
    snapshot = escaped(snapshot)
    total = snapshot.total
    ended = sum(number for state, number in total.items() if state.is_final)
    title = Text.assemble(
        (snapshot.title, "bold"), (f"  {ended:,} of {sum(total.values()):,}", DIM)
    )
    parts: list[RenderableType] = [title, _bars(snapshot, width)]
    if snapshot.running:
        parts.append(_running(snapshot, now))
    if snapshot.finished:
        parts.append(counts_text(total))
    return Group(*parts)


def _bars(snapshot: Snapshot, width: int) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=30)
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="ellipsis", no_wrap=True)
    bar_width = max(MIN_BAR, min(MAX_BAR, width - 60))
    for kind, counts in list(snapshot.counts.items())[:MAX_TYPES]:
        ended = sum(number for state, number in counts.items() if state.is_final)
        rest: dict[State, int] = dict(counts)
        rest.pop(State.FINISHED, None)
        grid.add_row(
            f"  {kind or 'milestones'}",
            bar(counts, bar_width),
            f"{ended:,}/{sum(counts.values()):,}",
            counts_text(rest) if any(rest.values()) else Text("done", style=STYLES[State.FINISHED]),
        )
    hidden = len(snapshot.counts) - MAX_TYPES
    if hidden > 0:
        grid.add_row(f"  … and {hidden} more types")
    return grid


def _running(snapshot: Snapshot, now: datetime) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for job in snapshot.running:
        mark = Text(f"  {MARKS[State.RUNNING]} ", style=STYLES[State.RUNNING])
        ran = _calm_duration((now - job.since).total_seconds())
        grid.add_row(mark.append(job.label, style="default"), ran, _progress(job))
    return grid


def _calm_duration(seconds: float) -> str:
    """Return a span in whole seconds: tenths that change all the time only draw the eye."""
    return f"{max(0, int(seconds))} s" if seconds < 60 else format_duration(int(seconds))


def _progress(job: RunningJob) -> Text:
    if job.fraction is None:
        return Text(job.message)
    done = round(job.fraction * SMALL_BAR)
    return Text.assemble(
        ("━" * done, STYLES[State.RUNNING]),
        ("─" * (SMALL_BAR - done), DIM),
        f" {job.fraction:>4.0%}  {job.message}",
    )


class LiveBoard:
    """Redraws in place; the last picture stays on the screen."""

    def __init__(self, console: Console, clock: Callable[[], datetime]) -> None:
        self._console = console
        self._clock = clock
        self._failures = 0
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> LiveBoard:
        self._live.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        page = snapshot_page(snapshot, self._console.width, self._clock())
        self._live.update(page, refresh=True)

    def tell(self, event: JobEvent) -> None:
        """The bars say it; only the first failures deserve lines that stay."""
        if event.state is State.FAILED and self._failures < MAX_FAILURES:
            self._failures += 1
            self._live.console.print(event_line(event, self._clock()), soft_wrap=True)


class PlainBoard:
    """A line for every change of state, and the sum at the end."""

    def __init__(self, console: Console, clock: Callable[[], datetime]) -> None:
        self._console = console
        self._clock = clock

    def __enter__(self) -> PlainBoard:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        if snapshot.finished:
            self._console.print(
                Text(f"{printable(snapshot.title)}: ").append_text(counts_text(snapshot.total))
            )

    def tell(self, event: JobEvent) -> None:
        if event.state is not State.WAITING:  # no job comes to wait: these only stood there before
            self._console.print(event_line(event, self._clock()), soft_wrap=True)


def event_line(event: JobEvent, now: datetime) -> Text:
    """Return one change as a line: time, state, what, id, and why it failed."""
    event = escaped(event)
    what = event.name or event.type or "milestone"
    line = Text.assemble((format_moment(event.at, now), DIM), "  ")
    line.append_text(state_text(event.state))
    line.append(" " * max(1, 13 - len(event.state.value) - 2))
    line.append(f"{what:<16}  ").append(event.job, style=DIM)
    if event.progress is not None and event.state is State.RUNNING:
        fraction = event.progress.fraction
        share = f"{fraction:.0%} " if fraction is not None else ""
        line.append(f"  {share}{event.progress.message or ''}".rstrip())
    if event.error is not None:
        line.append(
            f"  {event.error.code}: {(event.error.message.splitlines() or [''])[0]}", style="red"
        )
    return line
