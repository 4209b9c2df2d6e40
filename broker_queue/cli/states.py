"""How a state looks on a terminal: a mark that says it without colour, and a colour."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from broker_queue.job import State

MARKS: Mapping[State, str] = {
    State.WAITING: "○",
    State.SCHEDULED: "◷",
    State.QUEUED: "◌",
    State.RUNNING: "●",
    State.FINISHED: "✓",
    State.FAILED: "✗",
    State.SKIPPED: "↷",
    State.CANCELED: "⊘",
}

STYLES: Mapping[State, str] = {
    State.WAITING: "bright_black",
    State.SCHEDULED: "magenta",
    State.QUEUED: "yellow",
    State.RUNNING: "blue",
    State.FINISHED: "green",
    State.FAILED: "red",
    State.SKIPPED: "bright_black",
    State.CANCELED: "bright_black",
}

ORDER = (
    State.FINISHED,
    State.FAILED,
    State.SKIPPED,
    State.CANCELED,
    State.RUNNING,
    State.QUEUED,
    State.SCHEDULED,
    State.WAITING,
)
"""In bars and counts: what has ended first, what is far away last."""


def state_text(state: State) -> Text:
    """Return the state with its mark, in its colour."""
    return Text(f"{MARKS[state]} {state.value}", style=STYLES[state])


def counts_text(counts: Mapping[State, int]) -> Text:
    """Return ``12 finished, 1 failed``, each in its colour; what there is none of is left out."""
    parts = [
        Text(f"{counts[state]:,} {state.value}", style=STYLES[state])
        for state in ORDER
        if counts.get(state)
    ]
    return Text(", ").join(parts) if parts else Text("no jobs", style="bright_black")


def counts_marks(counts: Mapping[State, int]) -> Text:
    """Return ``12 ✓  1 ✗``: the counts where there is no room for words."""
    parts = [
        Text(f"{counts[state]:,} {MARKS[state]}", style=STYLES[state])
        for state in ORDER
        if counts.get(state)
    ]
    return Text("  ").join(parts) if parts else Text("no jobs", style="bright_black")


def bar(counts: Mapping[State, int], width: int) -> Text:
    """Return a bar with a part for each state: thick for ended, dotted for running, thin for open.

    A state that has any job has at least one cell, so that one failure in a million is seen.
    """
    total = sum(counts.values())
    if not total:
        return Text("─" * width, style="bright_black")
    present = [state for state in ORDER if counts.get(state)]
    cells = {state: max(1, counts[state] * width // total) for state in present}
    largest = max(present, key=lambda state: cells[state])
    cells[largest] = max(1, cells[largest] + width - sum(cells.values()))
    return Text.assemble(*((_glyph(state) * cells[state], STYLES[state]) for state in present))


def _glyph(state: State) -> str:
    if state.is_final:
        return "━"
    return "╍" if state is State.RUNNING else "─"
