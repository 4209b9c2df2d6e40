"""Screens, as people see them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from broker_queue.cli.diagnosis import Finding, Verdict
from broker_queue.cli.live import event_line, snapshot_page
from broker_queue.cli.tables import TableOutput, make_console
from broker_queue.cli.tally import Tally
from broker_queue.job import State
from broker_queue.overview import GraphPage, GraphStatus, WorkerStatus
from broker_queue.protocol import messages
from broker_queue.protocol.codec import RawJson
from broker_queue.status import Error, JobEvent, JobPage, Progress
from tests.cli.conftest import NOW, ago, graph_id, job, job_id

FETCH = job(
    1,
    State.FINISHED,
    type="fetch",
    ready=ago(200),
    started=ago(199),
    finished=ago(190),
    attempt=1,
    graph=graph_id(1),
    worker="w1",
    raw_result=RawJson(b'{"path": "/data/1"}'),
)
BUILD = job(
    2,
    State.RUNNING,
    name="nightly build",
    ready=ago(190),
    started=ago(75),
    attempt=2,
    max_attempts=3,
    worker="w1",
    progress=Progress(fraction=0.5, message="compiling"),
    dependencies=[messages.DependencyStatus(job=job_id(1), state=State.FINISHED)],
    dependency_count=1,
)
NOTIFY = job(
    3,
    State.SKIPPED,
    type="notify",
    finished=ago(3),
    skipped_because=job_id(1),
    dependencies=[
        messages.DependencyStatus(
            job=job_id(1), state=State.FINISHED, condition=messages.Condition.FAILURE
        )
    ],
)
LINT = job(
    4,
    State.FAILED,
    type="lint",
    started=ago(10),
    finished=ago(9.5),
    error=Error(code="ValueError", message="bad style\nin line 2"),
)


class Screen:
    """A `TableOutput` of a fixed width at a fixed time."""

    def __init__(self, width: int = 100) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.output = TableOutput(
            Console(file=self.out, width=width, highlight=False, markup=False),
            Console(file=self.err, width=width, highlight=False, markup=False),
        )
        self.output._clock = lambda: NOW

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.out.getvalue().splitlines()]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("TZ", "UTC")
    import time

    time.tzset()
    return Screen()


def test_one_job_has_a_page(screen: Screen) -> None:
    screen.output.statuses([BUILD])
    assert screen.lines() == [
        "● running  nightly build",
        f"  id        {job_id(2)}",
        "  type      build",
        "  queued    3 min ago    11:56:40",
        "  started   1 min ago    11:58:45  1 min 55 s after it was ready",
        "  running   for 1 min 15 s",
        "  attempt   2 of 3",
        "  worker    w1",
        "  progress  50 %  compiling",
        f"  after     {job_id(1)}  ✓ finished",
    ]


def test_other_jobs_on_a_page_have_their_names(screen: Screen) -> None:
    screen.output.statuses([BUILD], [replace(FETCH, name="fetch the data")])
    assert screen.lines()[-1] == f"  after     {job_id(1)} (fetch the data)  ✓ finished"
    screen.output.ended([NOTIFY], [replace(FETCH, name="fetch\ndata")])
    assert f"  because of  {job_id(1)} (fetch\\ndata)" in screen.lines()


def test_a_finished_job_shows_its_result(screen: Screen) -> None:
    screen.output.statuses([FETCH])
    assert screen.lines()[4:] == [
        "  queued    3 min ago    11:56:40",
        "  started   3 min ago    11:56:41  1.0 s after it was ready",
        "  finished  3 min ago    11:56:50  ran 9.0 s",
        "  worker    w1",
        '  result    {"path": "/data/1"}',
    ]


def test_a_skipped_job_names_its_cause_and_a_failed_one_its_error(screen: Screen) -> None:
    screen.output.statuses([NOTIFY])
    assert f"  because of  {job_id(1)}" in screen.lines()
    assert f"  after       {job_id(1)}  ✓ finished  on failure" in screen.lines()
    screen.output.statuses([LINT])
    assert screen.lines()[-2:] == ["  error    ValueError: bad style", "           in line 2"]


def test_a_failed_job_names_the_line_of_its_own_code(screen: Screen) -> None:
    raised = (
        '    await call\n    ^^^^^^^^^^\n  File "/srv/jobs.py", line 7, in build\n    return 1 / 0\n'
        "           ~~^~~\nZeroDivisionError: division by zero\n"
    )
    error = Error(
        code="ZeroDivisionError",
        message="division by zero",
        raw_details=RawJson(json.dumps({"traceback": raised}).encode()),
    )
    screen.output.statuses([job(4, State.FAILED, error=error)])
    assert screen.lines()[-3:] == [
        "  error   ZeroDivisionError: division by zero",
        "  where   /srv/jobs.py:7 in build",
        "              return 1 / 0",
    ]


def test_a_canceled_job_tells_the_reason(screen: Screen) -> None:
    screen.output.statuses(
        [job(1, State.CANCELED, error=Error(code="canceled", message="not needed"))]
    )
    assert screen.lines()[-1] == "  reason  not needed"


def test_a_long_result_is_cut(screen: Screen) -> None:
    screen.output.statuses([job(1, State.FINISHED, raw_result=RawJson(b'"' + b"x" * 5000 + b'"'))])
    assert "--json prints all" in screen.out.getvalue()


def test_jobs_are_listed(screen: Screen) -> None:
    screen.output.listed(JobPage([FETCH, BUILD, NOTIFY, LINT], next=7))
    assert screen.lines() == [
        "ID                                    STATE       TYPE    NAME           QUEUED            RAN",
        f"{job_id(1)}  ✓ finished  fetch                  3 min ago       9.0 s",
        f"{job_id(2)}  ● running   build   nightly build  3 min ago  1 min 15 s",
        f"{job_id(3)}  ↷ skipped   notify                 3 min ago",
        f"{job_id(4)}  ✗ failed    lint                   3 min ago      500 ms",
    ]
    assert screen.err.getvalue().splitlines() == [
        "No room for ATTEMPT, REMARK; a wider terminal or --json shows more.",
        "There are more: --before 7, or --limit N, or --all.",
    ]


def test_a_wide_list_has_the_remark(screen: Screen) -> None:
    wide = Screen(130)
    wide.output.listed(JobPage([BUILD, LINT]))
    assert [line[94:] for line in wide.lines()] == [
        "ATTEMPT  REMARK",
        "    2/3  50 %  compiling",
        "         ValueError: bad style",
    ]
    assert wide.err.getvalue() == ""


def test_ids_are_whole_on_a_narrow_terminal() -> None:
    narrow = Screen(50)
    narrow.output.listed(JobPage([FETCH, BUILD]))
    assert [line[:36] for line in narrow.lines()[1:]] == [job_id(1), job_id(2)]
    assert max(map(len, narrow.lines())) <= 50


def test_an_empty_list_says_so_on_standard_error(screen: Screen) -> None:
    screen.output.listed(JobPage([]))
    assert (screen.out.getvalue(), screen.err.getvalue()) == ("", "No jobs.\n")


def graph_status(**fields: Any) -> GraphStatus:
    counts = [
        messages.TypeCount(type="build", state=State.FINISHED, jobs=99),
        messages.TypeCount(type="build", state=State.FAILED, jobs=1),
    ]
    return GraphStatus(id=graph_id(1), queued=ago(200), counts=counts, name="nightly", **fields)


def test_a_graph_is_drawn_with_states_and_times(screen: Screen) -> None:
    screen.output.graph(graph_status(finished=ago(80)), [FETCH, BUILD, NOTIFY], fold=True)
    assert screen.lines() == [
        f"nightly  {graph_id(1)}  queued 3 min ago, took 2 min",
        "99 finished, 1 failed",
        "✓ fetch  9.0 s",
        "├─ ● nightly build  build  1 min 15 s",
        "└─ ↷ notify  if it failed",
    ]


@pytest.mark.parametrize(
    ("width", "lines", "note"),
    [
        (
            120,
            [
                "ID                                    NAME     STATES                 JOBS  QUEUED      TOOK",
                f"{graph_id(1)}  nightly  99 finished, 1 failed   100  3 min ago  2 min  {'━' * 20}",
            ],
            "",
        ),
        (
            100,
            [
                "ID                                    NAME     STATES                 JOBS  QUEUED      TOOK",
                f"{graph_id(1)}  nightly  99 finished, 1 failed   100  3 min ago  2 min",
            ],
            "",
        ),
        (
            80,
            [
                "ID                                    NAME     STATES     JOBS  QUEUED      TOOK",
                f"{graph_id(1)}  nightly  99 ✓  1 ✗   100  3 min ago  2 min",
            ],
            "",
        ),
        (
            72,
            [
                "ID                                    NAME     STATES     QUEUED",
                f"{graph_id(1)}  nightly  99 ✓  1 ✗  3 min ago",
            ],
            "No room for JOBS, TOOK; a wider terminal or --json shows more.\n",
        ),
    ],
)
def test_graphs_are_listed_with_what_counts(width: int, lines: list[str], note: str) -> None:
    screen = Screen(width)
    screen.output.graphs(GraphPage(graphs=[graph_status(finished=ago(80))]))
    assert (screen.lines(), screen.err.getvalue()) == (lines, note)


def test_a_job_that_was_stopped_ran_no_shorter_than_its_time(screen: Screen) -> None:
    stopped = job(
        1,
        State.FAILED,
        started=ago(10),
        finished=ago(9.043),
        timeout=1.0,
        error=Error(code="timeout", message="ran longer than its 1 s"),
    )
    screen.output.statuses([stopped])
    assert "ran 1.0 s" in screen.out.getvalue()


def test_an_explanation_goes_down_to_the_cause(screen: Screen) -> None:
    screen.output.explained(
        messages.Explanation(
            job=job_id(2),
            state=State.WAITING,
            summary="build waits for 1 dependency; root cause: no worker",
            reasons=[
                messages.Reason(kind="a", text="build waits for 1 dependency"),
                messages.Reason(kind="b", text="waits for fetch", job=job_id(1), depth=0),
                messages.Reason(kind="c", text="no worker", state=State.QUEUED, depth=1),
            ],
        ),
        None,
    )
    assert screen.lines() == [
        "○ waiting  build waits for 1 dependency; root cause: no worker",
        f"  waits for fetch  {job_id(1)}",
        "    ◌ no worker",
    ]


def test_findings_have_advice_below(screen: Screen) -> None:
    screen.output.findings(
        [
            Finding(Verdict.GOOD, "broker", "RabbitMQ 4.0.5"),
            Finding(Verdict.PROBLEM, "scheduler", "not running", "start it"),
            Finding(Verdict.NOTE, "workers", "none"),
        ]
    )
    assert screen.lines() == [
        "✓ broker     RabbitMQ 4.0.5",
        "✗ scheduler  not running",
        "             → start it",
        "· workers    none",
    ]


def test_workers_are_listed(screen: Screen) -> None:
    screen.output.workers(
        [
            WorkerStatus(
                worker="w1",
                types=["build", "lint"],
                channels=[""],
                concurrency=8,
                running=3,
                host="h",
                pid=7,
                software="s",
                since=ago(60),
                seen=ago(2),
            )
        ]
    )
    assert screen.lines() == [
        "WORKER  TYPES        RUNNING  HOST  SINCE      SEEN     SOFTWARE",
        "w1      build, lint      3/8  h 7   1 min ago  2 s ago  s",
    ]


def event(number: int, state: State, **fields: Any) -> JobEvent:
    fields.setdefault("type", "build")
    return JobEvent(job=job_id(number), state=state, at=ago(30), **fields)


def test_bars_show_every_type_and_what_runs() -> None:
    tally = Tally("nightly")
    for number in range(10):
        tally.add(event(number, State.FINISHED if number < 5 else State.QUEUED))
    progress = Progress(fraction=0.5, message="compiling")
    tally.add(event(20, State.RUNNING, type="lint", name="style", progress=progress))
    tally.add(event(21, State.FAILED, type=None))
    out = io.StringIO()
    Console(file=out, width=80).print(snapshot_page(tally.snapshot(), 80, NOW))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "nightly  6 of 12",
        "  build       ━━━━━━━━━━──────────  5/10  5 queued",
        "  lint        ╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍   0/1  1 running",
        "  milestones  ━━━━━━━━━━━━━━━━━━━━   1/1  1 failed",
        "  ● style  30 s  ━━━━━─────  50%  compiling",
    ]


def test_an_event_is_one_line(screen: Screen) -> None:
    error = Error(code="ValueError", message="bad\nstyle")
    assert event_line(event(1, State.FAILED, name="lint", error=error), NOW).plain == (
        f"11:59:30  ✗ failed     lint              {job_id(1)}  ValueError: bad"
    )


def test_what_is_written_into_a_pipe_is_neither_cut_nor_coloured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    out = io.StringIO()
    output = TableOutput(make_console(out))
    output.listed(JobPage([job(1, State.FAILED, name="n" * 150, type="t" * 100)]))
    assert "n" * 150 in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    for name, coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", name)
        out = Terminal()
        TableOutput(make_console(out)).listed(JobPage([LINT]))
        assert ("\x1b[31m" in out.getvalue()) is coloured
