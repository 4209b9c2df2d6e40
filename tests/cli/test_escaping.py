"""Texts of strangers cannot reach the terminal as commands, whatever shows them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from broker_queue.cli import drawing
from broker_queue.cli.diagnosis import Finding, Verdict
from broker_queue.cli.escaping import escaped, printable, printable_lines
from broker_queue.cli.live import event_line, snapshot_page
from broker_queue.cli.output import QuietOutput, RetriedPair
from broker_queue.cli.tables import TableOutput, nodes_of
from broker_queue.cli.tally import Tally
from broker_queue.errors import Invalid
from broker_queue.job import State
from broker_queue.overview import GraphPage, GraphStatus, WorkerStatus
from broker_queue.protocol import messages
from broker_queue.protocol.codec import RawJson
from broker_queue.status import Error, JobEvent, JobPage, Progress
from tests.cli.conftest import NOW, ago, graph_id, job, job_id

EVIL = "\x1b[2J\x07\r\x9b31m\u202e evil"
SHOWN = "\\x1b[2J\\x07\\r\\x9b31m\\u202e evil"
LINES = f"{EVIL}\nroot@host:~#"

JOB = job(
    1,
    State.FAILED,
    type=EVIL,
    name=LINES,
    channel=EVIL,
    worker=EVIL,
    error=Error(
        code=EVIL,
        message=LINES,
        raw_details=RawJson(b'{"traceback": "  File \\"\\u001b\\", line 1\\n"}'),
    ),
    raw_result=RawJson('{"\x9b31m": "\u202e"}'.encode()),
)
RUNNING = job(2, State.RUNNING, name=EVIL, progress=Progress(fraction=0.5, message=LINES))
WORKER = WorkerStatus(
    worker=EVIL, types=[EVIL], channels=[EVIL], concurrency=1, running=0, host=EVIL, pid=1,
    software=EVIL, since=NOW, seen=NOW,
)  # fmt: skip
GRAPH = GraphStatus(
    id=graph_id(1),
    queued=ago(1),
    name=LINES,
    counts=[messages.TypeCount(type=EVIL, state=State.FAILED, jobs=1)],
)
EVENT = JobEvent(
    job=job_id(1),
    state=State.FAILED,
    at=ago(1),
    type=EVIL,
    name=LINES,
    error=Error(code=EVIL, message=LINES),
)
EXPLANATION = messages.Explanation(
    job=job_id(1),
    state=State.FAILED,
    summary=LINES,
    reasons=[messages.Reason(kind="failed", text=LINES, job=job_id(2))],
)
NEW = messages.NewJob(id=job_id(1), type="t", name=LINES)


def board(output: TableOutput) -> None:
    with output.board() as shown:
        shown.tell(EVENT)
        tally = Tally(LINES)
        tally.add(EVENT)
        shown.show(tally.snapshot(finished=True))


@pytest.mark.parametrize(
    "show",
    [
        lambda output: output.statuses([JOB]),
        lambda output: output.statuses([RUNNING]),
        lambda output: output.statuses([JOB, RUNNING]),
        lambda output: output.ended([JOB]),
        lambda output: output.listed(JobPage([JOB, RUNNING])),
        lambda output: output.explained(EXPLANATION, None),
        lambda output: output.retried([RetriedPair(job_id(1), JOB, is_new=True)]),
        lambda output: output.graphs(GraphPage([GRAPH])),
        lambda output: output.graph(GRAPH, [JOB, RUNNING], fold=True),
        lambda output: output.graph_ended(GRAPH, [JOB]),
        lambda output: output.planned([NEW]),
        lambda output: output.workers([WORKER]),
        lambda output: output.findings([Finding(Verdict.PROBLEM, "worker", EVIL, EVIL)]),
        lambda output: output.facts({"url": EVIL}),
        lambda output: output.error(Invalid(LINES)),
        lambda output: output.text(drawing.dot(nodes_of([JOB]), "n")),
        lambda output: output.text(drawing.mermaid(nodes_of([JOB]))),
        board,
    ],
)
def test_no_screen_shows_a_control_character(show: Any) -> None:
    streams = io.StringIO(), io.StringIO()
    output = TableOutput(*(Console(file=each, width=300, highlight=False) for each in streams))
    output._clock = lambda: NOW
    show(output)
    text = "".join(each.getvalue() for each in streams)
    assert "\\x1b" in text
    assert not [each for each in text if not each.isprintable() and each != "\n"]
    assert not any(line.startswith("root@") for line in text.splitlines())


def test_bars_show_no_control_character() -> None:
    tally = Tally(EVIL)
    tally.add(EVENT)
    tally.add(JobEvent(job=job_id(2), state=State.RUNNING, at=ago(1), type="t", name=LINES))
    out = io.StringIO()
    Console(file=out, width=300).print(snapshot_page(tally.snapshot(), 300, NOW))
    assert out.getvalue().count(SHOWN[:10]) == 3
    assert "\x1b" not in out.getvalue()


def test_an_event_is_one_line_whatever_it_is_called() -> None:
    assert len(event_line(EVENT, NOW).plain.splitlines()) == 1


def test_quiet_shows_none_either() -> None:
    out, err = io.StringIO(), io.StringIO()
    quiet = QuietOutput(out, err)
    quiet.workers([WORKER])
    quiet.explained(EXPLANATION, None)
    quiet.findings([Finding(Verdict.PROBLEM, "worker", EVIL)])
    quiet.error(Invalid(EVIL))
    assert out.getvalue().splitlines() == [SHOWN, f"{SHOWN}\\nroot@host:~#", f"worker: {SHOWN}"]
    assert err.getvalue() == f"Error: {SHOWN}\n"


def test_what_is_written_by_people_stays_as_it_is() -> None:
    for text in ("Überprüfung", "检查　构建", "👩‍👩‍👧 build", "a b"):
        assert printable(text) == text
    assert printable_lines("a\tb\r\nc") == "a    b\\r\nc"


def test_nothing_is_copied_that_is_harmless() -> None:
    fine = job(1, State.FINISHED, name="fine")
    assert escaped([fine])[0] is fine
