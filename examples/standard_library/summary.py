"""What the demo tells at its end: the findings, where the time went, what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker_queue import JobStatus
from broker_queue.cli.durations import format_duration
from examples.show.place import Place
from examples.standard_library.graph import Analysis
from examples.standard_library.place import TARGET
from examples.standard_library.ranking import Ranking

TOP = 8
BAR = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the graph."""

    analysis: Analysis
    ranking: Ranking
    jobs: Sequence[JobStatus]
    skipped: str
    """Why `notify-failure` was skipped, in the scheduler's words."""


def show_outcome(console: Console, outcome: Outcome, report: Path) -> None:
    skipped = Text(f"↷ {outcome.skipped}", style="bright_black")
    console.print(skipped, soft_wrap=True)
    console.print("\n[bold]What it found[/bold]\n")
    console.print(_findings(outcome.ranking))
    console.print()
    console.print(_top(outcome.ranking))
    console.print("\n[bold]The report, with pictures[/bold]\n")
    console.print(Text(f"  {report.as_uri()}", style="blue"), soft_wrap=True)


def show_times(console: Console, seconds: Mapping[str, float]) -> None:
    """Show where the time went, with a bar for each step."""
    total = sum(seconds.values())
    console.print(f"\n[bold]{format_duration(total)} in all[/bold]\n")
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for label, took in seconds.items():
        line = "━" * round(BAR * took / total)
        table.add_row(f"  {label}", format_duration(took), Text(line, "blue"))
    console.print(table)


def seconds_by_type(jobs: Sequence[JobStatus]) -> dict[str, float]:
    """Return how long the jobs of each type took, from when the first was ready to the last's end.

    In the order in which they began; `measure` overlaps with nothing, for `rank` waits for it all.
    """
    spans: dict[str, tuple[datetime, datetime]] = {}
    for job in jobs:
        if job.type and job.ready and job.started and job.finished:
            begin, end = spans.get(job.type, (job.ready, job.finished))
            spans[job.type] = min(begin, job.ready), max(end, job.finished)
    in_order = sorted(spans.items(), key=lambda item: item[1])
    return {kind: (end - begin).total_seconds() for kind, (begin, end) in in_order}


def show_what_next(console: Console, *, attached: bool) -> None:
    """Show commands that work as they stand, from the folder that the demo was started in."""
    queue, python = _command("broker-queue"), _command("python")
    lines = [
        (
            f"{python} -m examples.standard_library --keep",
            "again, but let everything run on, to look around",
        )
    ]
    if attached:
        lines = [(f"{queue} graphs", "all graphs"), (f"{queue} workers", "who does the work")]
    else:
        lines.append((f"{queue} dev", "a broker and a scheduler of your own; then, elsewhere:"))
        lines.append((f"{queue} worker {TARGET}", "a worker"))
    lines.append((f"{queue} submit examples/nightly.yaml", "a graph from a file"))
    lines.append((f"{queue} watch last", "follow it; also: graph last, explain last/report"))
    _show_commands(console, "What next:", lines)


def show_commands_for(console: Console, place: Place, analysis: Analysis) -> None:
    """Show commands for looking at the graph while its scheduler runs."""
    queue = _command("broker-queue")
    console.print("\n[bold]Everything runs on until Ctrl-C.[/bold] In another terminal:\n")
    console.print(f"  export BROKER_QUEUE_URL={place.url}", soft_wrap=True)
    if place.namespace and place.namespace != "bq":
        console.print(f"  export BROKER_QUEUE_NAMESPACE={place.namespace}", soft_wrap=True)
    lines = [
        (f"{queue} graph {analysis.graph.id}", "the graph as a tree"),
        (f"{queue} explain {analysis.notify_failure.id}", "why did it not run?"),
        (f"{queue} list --type measure --limit 5", "some of its jobs"),
        (f"{queue} workers", "who did the work"),
    ]
    _show_commands(console, "", lines)


def _show_commands(console: Console, title: str, lines: Sequence[tuple[str, str]]) -> None:
    if title:
        console.print(f"\n[bold]{title}[/bold]\n")
    for command, what in lines:
        console.print(Text(f"  # {what}", style="bright_black"), soft_wrap=True)
        console.print(Text(f"  {command}"), soft_wrap=True)
    console.print()


def _command(name: str) -> str:
    """Return how to call a command of this environment: its name, if a shell finds it there."""
    own = Path(sys.executable).with_name(name)
    if shutil.which(name) == str(own):
        return name
    here = Path.cwd()
    path = own.relative_to(here) if own.is_relative_to(here) else own
    return shlex.quote(str(path))


def _findings(ranking: Ranking) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="bold blue", no_wrap=True)
    table.add_column(ratio=1)
    for finding in ranking.findings:
        table.add_row(f"  {finding.number}", finding.text)
    return table


def _top(ranking: Ranking) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bright_black")
    table.add_column(" package", no_wrap=True)
    for title in ("lines", "of code", "functions", "classes", "imported by"):
        table.add_column(title, justify="right", no_wrap=True)
    for package in ranking.packages[:TOP]:
        numbers = (package.lines, package.code, package.functions, package.classes)
        shown = (f"{number:,}" for number in (*numbers, package.imported_by))
        table.add_row(f" {package.name}", *shown)
    return table
