"""The output for people: tables that fit the terminal, states in colour, times as ages."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, RenderableType
from rich.segment import Segment, Segments
from rich.text import Text

from broker_queue.cli.columns import Column, fitting, table
from broker_queue.cli.diagnosis import Finding, Verdict
from broker_queue.cli.drawing import Node, Parent, Row, tree
from broker_queue.cli.durations import current_time, format_age, format_duration
from broker_queue.cli.escaping import error_text, escaped
from broker_queue.cli.job_page import DIM, job_page, label, progress_text, ran_for
from broker_queue.cli.rating_page import check_lines, rating_line
from broker_queue.cli.states import MARKS, STYLES, bar, counts_marks, counts_text, state_text
from broker_queue.cli.words import counted
from broker_queue.job import State
from broker_queue.protocol import messages

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from broker_queue.cli.output import Board, RetriedPair
    from broker_queue.conformance.verdict import Rating, Result
    from broker_queue.errors import BrokerQueueError
    from broker_queue.job import JobId
    from broker_queue.overview import GraphPage, GraphStatus, WorkerStatus
    from broker_queue.status import JobPage, JobStatus

UNLIMITED = 1_000
"""Columns when the output goes into a file or pipe: nothing is cut."""

BAR = 20
"""Cells of a bar in a list."""

VERDICT_MARKS = {
    Verdict.GOOD: ("✓", "green"),
    Verdict.NOTE: ("·", "yellow"),
    Verdict.PROBLEM: ("✗", "red"),
}


class TableOutput:
    """Results on standard output; remarks and errors on standard error."""

    def __init__(self, out: Console | None = None, err: Console | None = None) -> None:
        self._out = out or make_console(sys.stdout)
        self._err = err or make_console(sys.stderr)
        self._clock = current_time

    def enqueued(self, job: JobId) -> None:
        self._line(job)

    def submitted(self, answer: messages.Submitted) -> None:
        self._line(answer.graph or "")

    def statuses(self, jobs: Sequence[JobStatus], related: Sequence[JobStatus] = ()) -> None:
        jobs, related, now = escaped(jobs), escaped(related), self._clock()
        if len(jobs) == 1:
            self._show(job_page(jobs[0], related, now))
        else:
            self._table(_job_columns(jobs, now))

    def ended(self, jobs: Sequence[JobStatus], related: Sequence[JobStatus] = ()) -> None:
        self.statuses(jobs, related)

    def listed(self, page: JobPage) -> None:
        if not page.jobs:
            self.note("No jobs.")
            return
        self._table(_job_columns(escaped(page.jobs), self._clock()))
        if page.next is not None:
            self.note(f"There are more: --before {page.next}, or --limit N, or --all.")

    def explained(self, explanation: messages.Explanation, retried_as: JobId | None) -> None:
        explanation = escaped(explanation)
        self._out.print(Text.assemble(state_text(explanation.state), "  ", explanation.summary))
        for index, reason in enumerate(explanation.reasons):
            if index == 0 and reason.text in explanation.summary:
                continue
            self._out.print(_reason_line(reason), soft_wrap=True)
        if retried_as is not None:
            self._out.print(Text(f"  retried as {retried_as}"), soft_wrap=True)

    def canceled(self, answer: messages.CanceledJobs) -> None:
        text = f"Canceled {counted(answer.canceled, 'job')}"
        if answer.running:
            text += f", {answer.running:,} of them running: their workers are told to stop"
        if answer.already_final:
            text += f"; {answer.already_final:,} had ended already"
        self._line(f"{text}.")

    def retried(self, pairs: Sequence[RetriedPair]) -> None:
        if not pairs:
            self.note("Nothing to retry: no job of these failed, was skipped or was canceled.")
            return
        now, copies = self._clock(), escaped([pair.copy for pair in pairs])
        columns = [
            Column("job", [label(copy) for copy in copies], flexible=True),
            Column("retried as", [copy.id for copy in copies]),
            Column("state", [state_text(copy.state) for copy in copies]),
            Column("queued", [format_age(copy.queued, now) for copy in copies], 1),
            Column("retry of", [pair.job for pair in pairs], 2),
        ]
        self._table(columns)
        before = sum(not pair.is_new for pair in pairs)
        if before:
            which = "Each of these" if before == len(pairs) else f"{before:,} of these"
            self.note(f"{which} had been retried before; to run a copy once more, retry the copy.")

    def graphs(self, page: GraphPage) -> None:
        if not page.graphs:
            self.note("No graphs.")
            return
        now, page = self._clock(), escaped(page)
        columns = _graph_columns(page.graphs, now, counts_text)
        if fitting(columns[:-1], self._out.width)[1]:  # the bar alone is no reason
            columns = _graph_columns(page.graphs, now, counts_marks)
        self._table(columns)
        if page.next is not None:
            self.note(f"There are more: --before {page.next}, or --limit N.")

    def graph(self, graph: GraphStatus, jobs: Sequence[JobStatus], *, fold: bool) -> None:
        now, graph, jobs = self._clock(), escaped(graph), escaped(jobs)
        self._graph_head(graph, now)
        by_id = {job.id: job for job in jobs}
        for row in tree(nodes_of(jobs), fold=fold):
            job = by_id.get(row.node.id) if row.node else None  # type: ignore[call-overload]
            self._out.print(_tree_line(row, job, now), no_wrap=True, overflow="ellipsis")

    def graph_ended(self, graph: GraphStatus, failed: Sequence[JobStatus]) -> None:
        now, failed = self._clock(), escaped(failed)
        self._graph_head(escaped(graph), now)
        if failed:
            self._table(_job_columns(failed, now))

    def _graph_head(self, graph: GraphStatus, now: datetime) -> None:
        head = Text.assemble((graph.name or "graph", "bold"), "  ", graph.id)
        head.append(f"  queued {format_age(graph.queued, now)}", style=DIM)
        if graph.finished is not None:
            head.append(f", took {_took(graph)}", style=DIM)
        self._out.print(head, soft_wrap=True)
        self._out.print(counts_text(_total(graph)))

    def planned(self, jobs: Sequence[messages.NewJob]) -> None:
        for row in tree(nodes_of_new(escaped(jobs)), fold=True):
            self._out.print(_tree_line(row, None, self._clock()), no_wrap=True, overflow="ellipsis")
        edges = sum(len(job.dependencies) + len(job.references) for job in jobs)
        self.note(f"{counted(len(jobs), 'job')} and {counted(edges, 'edge')}; nothing was sent.")

    def text(self, text: str) -> None:
        self._line(text)

    def workers(self, workers: Sequence[WorkerStatus]) -> None:
        if not workers:
            self.note("No worker has said hello. Start one: broker-queue worker MODULE:WORKER")
            return
        now, workers = self._clock(), escaped(workers)
        columns = [
            Column("worker", [worker.worker for worker in workers]),
            Column("types", [", ".join(worker.types) for worker in workers], flexible=True),
            Column("channels", [", ".join(filter(None, w.channels)) for w in workers], 3),
            Column("running", [f"{w.running:,}/{w.concurrency:,}" for w in workers], 0, "right"),
            Column("host", [f"{w.host} {w.pid or ''}".strip() for w in workers], 2),
            Column("since", [format_age(worker.since, now) for worker in workers], 4),
            Column("seen", [format_age(worker.seen, now) for worker in workers], 1),
            Column("software", [worker.software for worker in workers], 5),
        ]
        self._table(columns)

    def findings(self, findings: Sequence[Finding]) -> None:
        findings = escaped(findings)
        width = max((len(finding.subject) for finding in findings), default=0)
        for finding in findings:
            mark, style = VERDICT_MARKS[finding.verdict]
            line = Text.assemble((mark, style), f" {finding.subject:<{width}}  ", finding.text)
            self._out.print(line, soft_wrap=True)
            if finding.advice:
                self._out.print(Text(f"  {'':<{width}}  → {finding.advice}"), soft_wrap=True)

    def facts(self, facts: Mapping[str, str | int]) -> None:
        facts = escaped(facts)
        width = max(len(name) for name in facts)
        for name, value in facts.items():
            self._out.print(Text.assemble((f"{name:<{width}}  ", DIM), str(value)), soft_wrap=True)

    def checked(self, result: Result) -> None:
        width = self._out.width if self._out.is_terminal else None
        for line in check_lines(result, width):
            self._out.print(line, soft_wrap=True)

    def rated(self, rating: Rating) -> None:
        self._out.print()
        self._out.print(rating_line(rating), soft_wrap=not self._out.is_terminal)

    def board(self) -> AbstractContextManager[Board]:
        from broker_queue.cli.live import LiveBoard, PlainBoard  # only for watch

        kind = LiveBoard if self._out.is_terminal else PlainBoard
        return kind(self._out, self._clock)

    def note(self, text: str) -> None:
        self._err.print(Text(text, style=DIM), soft_wrap=True)

    def error(self, error: BrokerQueueError) -> None:
        self._err.print(Text.assemble(("Error: ", "bold red"), error_text(error)), soft_wrap=True)

    def _table(self, columns: Sequence[Column]) -> None:
        """Show a table; what has no room is named, so that nobody takes it for missing."""
        shown, dropped = fitting(columns, self._out.width)
        self._show(table(shown, self._out.width))
        titles = ", ".join(column.title.upper() for column in dropped if column.title)
        if titles:
            self.note(f"No room for {titles}; a wider terminal or --json shows more.")

    def _show(self, renderable: RenderableType) -> None:
        """Print without the blanks that rich fills every line with: they spoil what is copied."""
        found: list[Segment] = []
        for line in self._out.render_lines(renderable, pad=False):
            while line and not line[-1].text.strip():
                line.pop()
            if line:
                line[-1] = Segment(line[-1].text.rstrip(), line[-1].style)
            found += [*line, Segment.line()]
        self._out.print(Segments(found), soft_wrap=True, end="")

    def _line(self, text: str) -> None:
        self._out.print(Text(text), soft_wrap=True)


def make_console(stream: TextIO) -> Console:
    """Return a console that cuts nothing unless it writes to a terminal (or COLUMNS is set)."""
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=stream, width=UNLIMITED if wide else None, highlight=False, markup=False)


def nodes_of(jobs: Sequence[JobStatus]) -> list[Node]:
    """Return stored jobs as they are drawn, oldest first."""
    jobs = escaped(jobs)
    return [
        Node(
            id=job.id,
            label=label(job),
            type=job.type,
            state=job.state,
            parents=tuple(Parent(edge.job, edge.condition) for edge in job.dependencies or ()),
        )
        for job in jobs
    ]


def nodes_of_new(jobs: Sequence[messages.NewJob]) -> list[Node]:
    """Return jobs that are not submitted yet as they are drawn."""
    return [
        Node(id=job.id, label=job.name or job.type or "", type=job.type, parents=_parents(job))
        for job in jobs
    ]


def _parents(job: messages.NewJob) -> tuple[Parent, ...]:
    found = {
        parent.id: parent
        for target in job.dependencies
        for parent in (
            Parent(str(target.job), target.condition)
            if isinstance(target, messages.Dependency)
            else Parent(str(target)),
        )
    }
    for reference in job.references:
        found.setdefault(str(reference.job), Parent(str(reference.job)))
    return tuple(found.values())


def _job_columns(jobs: Sequence[JobStatus], now: datetime) -> list[Column]:
    return [
        Column("id", [job.id for job in jobs]),
        Column("state", [state_text(job.state) for job in jobs]),
        Column("type", [job.type or "milestone" for job in jobs], 1, flexible=True),
        Column("name", [job.name or "" for job in jobs], 2, flexible=True),
        Column("queued", [format_age(job.queued, now) for job in jobs], 3),
        Column("ran", [ran_for(job, now) for job in jobs], 4, "right"),
        Column("attempt", [_attempt(job) for job in jobs], 5, "right"),
        Column("channel", [job.channel for job in jobs], 6),
        Column("remark", [_remark(job) for job in jobs], 7, flexible=True),
    ]


def _graph_columns(
    graphs: Sequence[GraphStatus],
    now: datetime,
    shown: Callable[[Mapping[State, int]], Text],
) -> list[Column]:
    counts = [_total(graph) for graph in graphs]
    return [
        Column("id", [graph.id for graph in graphs]),
        Column("name", [graph.name or "" for graph in graphs], flexible=True),
        Column("states", [shown(count) for count in counts]),
        Column("jobs", [f"{sum(count.values()):,}" for count in counts], 3, "right"),
        Column("queued", [format_age(graph.queued, now) for graph in graphs], 1),
        Column("took", [_took(graph) for graph in graphs], 2, "right"),
        Column("", [bar(count, BAR) for count in counts], 4),
    ]


def _attempt(job: JobStatus) -> str:
    return f"{job.attempt}/{job.max_attempts}" if job.max_attempts > 1 else ""


def _remark(job: JobStatus) -> str:
    if job.error is not None:
        first = (job.error.message.splitlines() or [""])[0]
        return f"{job.error.code}: {first}"[:80]
    if job.state is State.RUNNING:
        return progress_text(job)
    return ""


def _tree_line(row: Row, job: JobStatus | None, now: datetime) -> Text:
    line = Text(row.prefix, style=DIM)
    if row.node is None:
        return line.append(row.note)
    state = row.node.state
    if state is not None:
        line.append(f"{MARKS[state]} ", style=STYLES[state])
    line.append(row.node.label, style="default")
    if row.node.type is None:
        line.append("  milestone" if row.node.label != "milestone" else "")
    elif row.node.type != row.node.label:
        line.append(f"  {row.node.type}")
    if job is not None and ran_for(job, now):
        line.append(f"  {ran_for(job, now)}")
    if job is not None and job.retried_as:
        line.append("  retried")
    return line.append(f"  {row.note}" if row.note else "")


def _reason_line(reason: messages.Reason) -> Text:
    line = Text("  " * (reason.depth + 1))
    if reason.state is not None:
        line.append(f"{MARKS[reason.state]} ", style=STYLES[reason.state])
    line.append(reason.text)
    if reason.job and reason.job not in reason.text:
        line.append(f"  {reason.job}", style=DIM)
    return line


def _total(graph: GraphStatus) -> Counter[State]:
    total: Counter[State] = Counter()
    for count in graph.counts:
        total[count.state] += count.jobs
    return total


def _took(graph: GraphStatus) -> str:
    if graph.finished is None:
        return ""
    return format_duration((graph.finished - graph.queued).total_seconds())
