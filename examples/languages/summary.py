"""What the demo tells: each change of a job, who ran it, and the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from broker_queue import JobEvent, JobStatus, State
from examples.languages.workers import Language

DIM = "bright_black"
WIDE = 80
"""Columns of a terminal from which on types are shown too; languages say nearly as much."""

COLOURS = {State.RUNNING: "blue", State.FINISHED: "green", State.FAILED: "red"}

UNNAMED = "A worker says its name once a job has run for some 50 ms; short ones end without it."


class Killed(NamedTuple):
    """A worker that was killed while it ran a job; `worker` is what it called itself."""

    language: Language
    worker: str | None


def show_event(console: Console, event: JobEvent, languages: Iterable[Language]) -> None:
    line = Text(f"    {event.name or '':<12}")
    line.append(f"{event.state:<10}", style=COLOURS.get(event.state, DIM))
    line.append(_language_of(event.type, languages))
    console.print(line, soft_wrap=True)


def show_killed(console: Console, killed: Killed) -> None:
    who = f" ({killed.worker})" if killed.worker else ""
    text = f"  ✗ kill -9: the worker in {killed.language.title}{who}; another one is started"
    console.print(Text(text, style="red"), soft_wrap=True)


def show(
    console: Console,
    languages: Iterable[Language],
    jobs: Sequence[JobStatus],
    killed: Killed | None,
    report: str,
) -> None:
    """Show who ran what, then the report."""
    console.print("\n[bold]Who ran what[/bold]\n")
    table = Table(box=None, padding=(0, 1), header_style=DIM)
    is_wide = console.width >= WIDE
    for title in (" job", *(["type"] if is_wide else []), "language", "state", "attempt"):
        table.add_column(title, no_wrap=True)
    table.add_column("worker", overflow="fold", min_width=8)
    for job in sorted(jobs, key=lambda job: (job.ready is None, job.ready)):
        language = _language_of(job.type, languages)
        was_killed = killed is not None and job.type == killed.language.rehearsal
        table.add_row(
            f" {job.name}",
            *([job.type] if is_wide else []),
            language,
            Text(job.state, COLOURS.get(job.state, DIM)),
            f"{job.attempt} of {job.max_attempts}",
            Text(_workers(job, killed if was_killed else None)),
        )
    console.print(table)
    console.print(Text(f"\n {UNNAMED}", style=DIM))
    console.print("\n[bold]The report[/bold]\n")
    console.print(Markdown(report))
    console.print()


def _language_of(kind: str | None, languages: Iterable[Language]) -> str:
    """Return in which language jobs of a type are run."""
    for language in languages:
        if kind in (*language.types, language.rehearsal):
            return language.title
    return ""


def _workers(job: JobStatus, killed: Killed | None) -> str:
    if killed is None:
        return job.worker or ""
    return f"{killed.worker}, killed\n{job.worker}"
