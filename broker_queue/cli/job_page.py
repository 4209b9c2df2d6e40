"""One job on a page of its own, as ``status ID`` shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from broker_queue.cli.durations import format_age, format_duration, format_moment
from broker_queue.cli.escaping import printable_lines
from broker_queue.cli.states import STYLES, state_text
from broker_queue.cli.words import counted
from broker_queue.job import JobId, State
from broker_queue.tracebacks import where

if TYPE_CHECKING:
    from broker_queue.status import Error, JobStatus

MAX_SHOWN = 2_000
"""Characters of a result or of args; ``--json`` prints them whole."""

MAX_DEPENDENCIES = 20
DIM = "bright_black"


def job_page(job: JobStatus, related: Sequence[JobStatus], now: datetime) -> RenderableType:
    """Return everything that is known of a job.

    Args:
        job: the job.
        related: those in `related_to` whose names are to be shown.
        now: what ages are counted to.
    """
    names = {other.id: other.name for other in related if other.name}
    title = Text.assemble(state_text(job.state), "  ", (label(job), "bold"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=DIM, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _facts(job, names, now):
        grid.add_row(f"  {name}", value)
    return Group(title, grid)


def related_to(job: JobStatus) -> list[JobId]:
    """Return the jobs that the page of this one names."""
    others = [JobId(edge.job) for edge in job.dependencies[:MAX_DEPENDENCIES]]
    if job.skipped_because is not None:
        others.append(job.skipped_because)
    return list(dict.fromkeys(others))


def label(job: JobStatus) -> str:
    """Return what people call a job: its name, else its type."""
    return job.name or job.type or "milestone"


def ran_for(job: JobStatus, now: datetime) -> str:
    """Return how long its last attempt ran, or runs already; empty when it never ran."""
    if job.started is None or (job.finished is None and job.state is not State.RUNNING):
        return ""
    seconds = max(0.0, ((job.finished or now) - job.started).total_seconds())
    if job.timeout and job.error is not None and job.error.code == "timeout" and job.finished:
        seconds = max(seconds, job.timeout)  # the scheduler hears of a start a little late
    return format_duration(seconds)


def _facts(
    job: JobStatus, names: Mapping[JobId, str], now: datetime
) -> Iterator[tuple[str, RenderableType]]:
    yield "id", job.id
    if job.type:
        channel = f" on channel {job.channel}" if job.channel else ""
        yield "type", f"{job.type}{channel}"
    if job.graph:
        yield "graph", job.graph
    yield from _times(job, now)
    if job.max_attempts > 1 or job.attempt > 1:
        yield "attempt", f"{job.attempt} of {job.max_attempts}"
    if job.worker:
        yield "worker", job.worker
    if job.progress and not job.state.is_final:
        yield "progress", progress_text(job)
    for name, other in (
        ("because of", job.skipped_because),
        ("retry of", job.retry_of),
        ("retried as", job.retried_as),
    ):
        if other:
            yield name, _with_name(other, names)
    yield from _dependencies(job, names)
    yield from _contents(job)


def _times(job: JobStatus, now: datetime) -> Iterator[tuple[str, RenderableType]]:
    yield "queued", _moment(job.queued, now)
    if job.ready and job.started and (job.started - job.ready).total_seconds() >= 0:
        waited = format_duration((job.started - job.ready).total_seconds())
        yield "started", _moment(job.started, now, f"{waited} after it was ready")
    elif job.started:
        yield "started", _moment(job.started, now)
    elif job.ready and not job.state.is_final:
        yield "ready", _moment(job.ready, now)
    if job.state is State.SCHEDULED and job.available_at:
        yield "runs", _moment(job.available_at, now)
    if job.finished:
        ran = ran_for(job, now)
        yield job.state.value, _moment(job.finished, now, f"ran {ran}" if ran else "")
    elif job.state is State.RUNNING and job.started:
        yield "running", f"for {ran_for(job, now)}"


def _moment(moment: datetime, now: datetime, remark: str = "") -> Text:
    age = format_age(moment, now)
    clock = format_moment(moment, now)
    return Text.assemble(f"{age:<12}", (f" {clock}", DIM), (f"  {remark}" if remark else "", DIM))


def progress_text(job: JobStatus) -> str:
    """Return what a running job last said of itself: ``50 %  compiling``."""
    if job.progress is None:
        return ""
    fraction, message = job.progress.fraction, job.progress.message
    parts = [f"{fraction:.0%}".replace("%", " %") if fraction is not None else "", message or ""]
    return "  ".join(part for part in parts if part)


def _with_name(job: JobId, names: Mapping[JobId, str]) -> str:
    return f"{job} ({names[job]})" if job in names else job


def _dependencies(
    job: JobStatus, names: Mapping[JobId, str]
) -> Iterator[tuple[str, RenderableType]]:
    shown = job.dependencies[:MAX_DEPENDENCIES]
    for index, edge in enumerate(shown):
        condition = "" if edge.condition == "success" else f"  on {edge.condition.value}"
        who = _with_name(JobId(edge.job), names)
        line = Text.assemble(who, "  ", state_text(edge.state), (condition, DIM))
        yield ("after" if index == 0 else ""), line
    hidden = job.dependency_count - len(shown)
    if not shown and hidden:
        yield "after", Text(f"{counted(hidden, 'job')}; --dependencies lists them", style=DIM)
    elif hidden > 0:
        yield "", Text(f"… and {hidden:,} more", style=DIM)


def _contents(job: JobStatus) -> Iterator[tuple[str, RenderableType]]:
    raw_args = getattr(job, "raw_args", None)
    if raw_args is not None:
        yield "args", _json_text(raw_args)
    if job.raw_result is not None:
        yield "result", _json_text(job.raw_result)
    if job.error is not None and job.state is State.CANCELED:
        yield "reason", Text(_cut(job.error.message))
    elif job.error is not None:
        text = Text(f"{job.error.code}: ", style=STYLES[State.FAILED])
        yield "error", text.append(_cut(job.error.message), style="default")
        if place := where(_traceback(job.error)):
            yield "where", Text(printable_lines(place), style=DIM)


def _traceback(error: Error) -> str:
    """Return the traceback that a worker sent in the details, if it did."""
    text = error.details.get("traceback") if isinstance(error.details, dict) else None
    return text if isinstance(text, str) else ""


def _json_text(raw: bytes) -> Text:
    text = bytes(raw).decode()
    if len(text) > 100:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return Text(printable_lines(_cut(text)))


def _cut(text: str) -> str:
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[:MAX_SHOWN]} … ({len(text):,} characters; --json prints all)"
