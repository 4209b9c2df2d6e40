"""What the demo shows while it works: steps with a mark and a time, and bars while jobs run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.text import Text

from broker_queue.cli.durations import current_time, format_duration
from broker_queue.cli.live import LiveBoard
from broker_queue.cli.states import counts_text
from broker_queue.cli.tally import Snapshot

DIM = "bright_black"
LABEL = 16
EVERY = 50
"""Jobs of a type that end between two lines about it, where there is no terminal."""


class Step:
    """One step while it is being done.

    Attributes:
        outcome: what came of it, shown at its end.
    """

    def __init__(self, screen: Screen, label: str, doing: str) -> None:
        self._screen = screen
        self._label = label
        self.outcome = doing

    def tell(self, doing: str) -> None:
        """Say what is going on now."""
        self._screen.show_doing(self._label, doing)


class Screen:
    """Shows steps and jobs: moving on a terminal, line by line elsewhere.

    Attributes:
        seconds: how long each step took.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self._status = console.status("") if console.is_terminal else None

    @contextmanager
    def step(self, label: str, doing: str) -> Iterator[Step]:
        """Show what is being done, and when it is done, what came of it."""
        step, began = Step(self, label, doing), monotonic()
        if self._status is not None:
            self._status.start()
        step.tell(doing)
        try:
            yield step
        finally:
            if self._status is not None:
                self._status.stop()
        self.seconds[label] = monotonic() - began
        line = Text.assemble(("✓ ", "green"), f"{label:<{LABEL}}", step.outcome)
        line.append(f"  {format_duration(self.seconds[label])}", style=DIM)
        self.console.print(line, soft_wrap=True)

    def show_doing(self, label: str, doing: str) -> None:
        line = Text.assemble(f"{label:<{LABEL}}", (f"{doing} …", DIM))
        if self._status is not None:
            self._status.update(line)
        else:
            self.console.print(Text("  ").append_text(line), soft_wrap=True)

    def board(self) -> LiveBoard | Lines:
        """Return what shows jobs while they run."""
        return LiveBoard(self.console, current_time) if self._status is not None else Lines(self)


class Lines:
    """The progress of jobs as plain lines: when some more of a type have ended, and when all have."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._shown: dict[str | None, tuple[int, bool]] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        for kind, counts in snapshot.counts.items():
            total = sum(counts.values())
            ended = sum(number for state, number in counts.items() if state.is_final)
            progress = (ended // EVERY, ended == total)
            if total and self._shown.get(kind, (0, False)) != progress:
                self._shown[kind] = progress
                line = Text(f"    {kind or 'milestones':<{LABEL}}{ended:>3,}/{total:,}  ")
                self._screen.console.print(line.append_text(counts_text(counts)), soft_wrap=True)
