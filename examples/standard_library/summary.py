"""What the demo tells at its end: the findings, where the time went, what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker_queue import JobStatus
from broker_queue.cli.durations import format_duration
from examples.standard_library.graph import Analysis
from examples.standard_library.place import TARGET, Place
from examples.standard_library.ranking import Ranking

TOP = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the graph."""

    analysis: Analysis
    ranking: Ranking
    jobs: Sequence[JobStatus]
    skipped: str
    """Why `notify-failure` was skipped, in the scheduler's words."""


def show_outcome(console: Console, outcome: Outcome, report: Path | None) -> None:
    console.print()
    console.print(_top(outcome.ranking))
    console.print()
    for finding in outcome.ranking.findings:
        console.print(
            Text.assemble("  ", (finding.number, "bold blue"), f" {finding.text}"), soft_wrap=True
        )
    console.print()
    if report is not None:
        console.print(Text.assemble("  The report, with pictures:  ", (str(report), "bold")))
    console.print(Text(f"  {outcome.skipped[0].upper()}{outcome.skipped[1:]}.", "bright_black"))


def show_times(console: Console, seconds: Mapping[str, float], total: float) -> None:
    parts = ", ".join(f"{name} {format_duration(took)}" for name, took in seconds.items())
    console.print(f"\n[bold]{format_duration(total)}[/bold] in all: {parts}.")


def time_of_jobs(jobs: Sequence[JobStatus]) -> str:
    """Return how long each kind of job took, from the start of its first to the end of its last."""
    spans = []
    for kind in dict.fromkeys(job.type for job in sorted(jobs, key=lambda job: job.queued)):
        started = [job.started for job in jobs if job.type == kind and job.started]
        ended = [job.finished for job in jobs if job.type == kind and job.started and job.finished]
        if started and ended:
            took = (max(ended) - min(started)).total_seconds()
            spans.append(f"{kind} {format_duration(took)}")
    return ", ".join(spans)


def show_what_next(console: Console, *, attached: bool) -> None:
    """Show commands that work as they stand, from the folder that the demo was started in."""
    queue, python = _command("broker-queue"), _command("python")
    lines = [
        (
            f"{python} -m examples.standard_library --keep",
            "again, and let it run on, to look around",
        )
    ]
    if attached:
        lines = [(f"{queue} graphs", "all graphs"), (f"{queue} workers", "who does the work")]
    else:
        lines.append((f"{queue} dev", "a broker and a scheduler of your own; then, elsewhere:"))
        lines.append((f"{queue} worker {TARGET}", "a worker"))
    lines.append((f"{queue} submit examples/nightly.yaml", "a graph from a file"))
    lines.append((f"{queue} watch last", "follow it; then try: graph last, explain last"))
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
    width = max(len(command) for command, _ in lines)
    for command, what in lines:
        line = Text(f"  {command:<{width}}").append(f"   # {what}", style="bright_black")
        console.print(line, soft_wrap=True)
    console.print()


def _command(name: str) -> str:
    """Return how to call a command of this environment: its name, if a shell finds it there."""
    own = Path(sys.executable).with_name(name)
    if shutil.which(name) == str(own):
        return name
    here = Path.cwd()
    path = own.relative_to(here) if own.is_relative_to(here) else own
    return shlex.quote(str(path))


def _top(ranking: Ranking) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bright_black")
    table.add_column("PACKAGE")
    for title in ("LINES", "OF CODE", "FUNCTIONS", "PER 1,000", "IMPORTED BY"):
        table.add_column(title, justify="right")
    for package in ranking.packages[:TOP]:
        numbers = (package.lines, package.code, package.functions, round(package.density))
        table.add_row(
            package.name, *(f"{number:,}" for number in numbers), f"{package.imported_by:,}"
        )
    return table
