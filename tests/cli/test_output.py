"""JSON for programs and bare words for scripts."""

from __future__ import annotations

import inspect
import io
import json
from typing import Any

import pytest

from broker_queue.cli.diagnosis import Finding, Verdict
from broker_queue.cli.output import JsonOutput, Output, QuietOutput, RetriedPair
from broker_queue.cli.tables import TableOutput
from broker_queue.errors import NotExist
from broker_queue.graph import new_job
from broker_queue.job import State
from broker_queue.overview import GraphStatus
from broker_queue.protocol import messages
from broker_queue.protocol.codec import RawJson
from broker_queue.status import Error, JobEvent, JobPage, Progress
from tests.cli.conftest import ago, graph_id, job, job_id

BIG = RawJson(b'{"number": 123456789012345678901234567890, "half": 0.50}')


class Streams:
    """An output of one kind on streams of its own."""

    def __init__(self, kind: Any) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.output = kind(self.out, self.err)

    def json(self) -> Any:
        return json.loads(self.out.getvalue())


@pytest.fixture
def as_json() -> Streams:
    return Streams(JsonOutput)


@pytest.fixture
def quiet() -> Streams:
    return Streams(QuietOutput)


def test_every_output_shows_everything() -> None:
    wanted = {name for name, _ in inspect.getmembers(Output, inspect.isfunction) if name[0] != "_"}
    for kind in (JsonOutput, QuietOutput, TableOutput):
        assert wanted <= set(dir(kind))


def test_results_go_out_byte_for_byte(as_json: Streams) -> None:
    as_json.output.statuses([job(1, State.FINISHED, raw_result=BIG)])
    assert '"result":{"number": 123456789012345678901234567890, "half": 0.50}' in (
        as_json.out.getvalue()
    )


def test_a_job_has_all_its_fields_and_times_as_text(as_json: Streams) -> None:
    edge = messages.DependencyStatus(job=job_id(2), state=State.FINISHED)
    as_json.output.statuses([job(1, State.WAITING, dependencies=[edge])])
    (found,) = as_json.json()["jobs"]
    assert found["id"] == job_id(1)
    assert found["queued"] == "2026-03-04T11:56:40.000Z"
    assert found["finished"] is None
    assert found["dependencies"] == [
        {"job": job_id(2), "state": "finished", "condition": "success"}
    ]


def test_a_graph_has_all_its_fields_and_times_as_text(as_json: Streams) -> None:
    as_json.output.graph(GraphStatus(id=graph_id(1), queued=ago(1)), [], fold=True)
    assert as_json.json() == {
        "id": graph_id(1),
        "queued": "2026-03-04T11:59:59.000Z",
        "name": None,
        "counts": [],
        "finished": None,
        "jobs": [],
    }


def test_what_a_worker_said_goes_out_byte_for_byte(as_json: Streams) -> None:
    error = Error(code="x", message="y", raw_details=BIG)
    as_json.output.statuses([job(1, State.FAILED, error=error, progress=Progress(raw_data=BIG))])
    text = as_json.out.getvalue()
    assert f'"error":{{"code":"x","message":"y","details":{BIG.decode()}}}' in text
    assert f'"progress":{{"fraction":null,"message":null,"data":{BIG.decode()}}}' in text


def test_a_planned_job_has_its_time_as_text(as_json: Streams) -> None:
    planned = new_job("build", available_at=ago(1))
    as_json.output.planned([planned, new_job(None)])
    times = [item["available_at"] for item in as_json.json()["jobs"]]
    assert times == ["2026-03-04T11:59:59.000Z", None]


def test_a_list_names_the_next_page(as_json: Streams) -> None:
    as_json.output.listed(JobPage([job(1, State.QUEUED)], next=3))
    assert (as_json.json()["next"], len(as_json.json()["jobs"])) == (3, 1)


def test_what_was_not_asked_for_is_left_out(as_json: Streams) -> None:
    as_json.output.listed(JobPage([job(1, State.QUEUED, dependency_count=2)]))
    (listed,) = as_json.json()["jobs"]
    assert not {"result", "dependencies", "args"} & set(listed)
    assert listed["dependency_count"] == 2


def test_what_was_asked_for_and_is_not_there_is_null(as_json: Streams) -> None:
    as_json.output.statuses([job(1, State.QUEUED, raw_args=RawJson(b"null"))])
    (found,) = as_json.json()["jobs"]
    assert (found["result"], found["dependencies"], found["args"]) == (None, [], None)


def test_events_are_one_document_a_line(as_json: Streams) -> None:
    with as_json.output.board() as board:
        for state in (State.QUEUED, State.FINISHED):
            board.tell(JobEvent(job=job_id(1), state=state, at=ago(1)))
    lines = [json.loads(line) for line in as_json.out.getvalue().splitlines()]
    assert [line["state"] for line in lines] == ["queued", "finished"]
    assert lines[0]["at"] == "2026-03-04T11:59:59.000Z"


def test_errors_are_json_on_standard_error(as_json: Streams) -> None:
    as_json.output.error(NotExist("there is no job x", {"job": "x"}))
    as_json.output.note("remark")
    assert as_json.out.getvalue() == ""
    assert json.loads(as_json.err.getvalue()) == {
        "error": {
            "code": "not_exist",
            "message": "there is no job x",
            "details": {"job": "x"},
        }
    }


def test_json_is_indented_for_a_person() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    JsonOutput(out).enqueued(job_id(1))
    assert out.getvalue() == f'{{\n  "id": "{job_id(1)}"\n}}\n'


def test_quiet_says_only_what_a_script_reads(quiet: Streams) -> None:
    output = quiet.output
    output.enqueued(job_id(1))
    output.submitted(messages.Submitted(jobs=1, graph=graph_id(1)))
    output.statuses([job(1, State.FAILED)])
    output.ended([job(1, State.FINISHED, raw_result=BIG), job(2, State.FAILED)])
    output.ended([job(2, State.FAILED)])
    output.listed(JobPage([job(3, State.FAILED)]))
    output.canceled(messages.CanceledJobs(canceled=3))
    output.retried([RetriedPair(job_id(1), job(2, State.QUEUED), is_new=True)])
    output.note("remark")
    assert quiet.out.getvalue().splitlines() == [
        job_id(1),
        graph_id(1),
        "failed",
        BIG.decode(),
        "",
        job_id(3),
        "3",
        job_id(2),
    ]


def test_a_quiet_doctor_tells_problems_only(quiet: Streams) -> None:
    quiet.output.findings(
        [Finding(Verdict.GOOD, "a", "b"), Finding(Verdict.PROBLEM, "queue", "nobody", "do")]
    )
    assert quiet.out.getvalue() == "queue: nobody\n"
