"""``--json``: one JSON document on standard output, whatever the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from broker_queue.cli.app import make_app
from broker_queue.job import State
from broker_queue.overview import GraphStatus
from broker_queue.protocol import messages
from broker_queue.protocol.codec import RawJson
from broker_queue.status import Error, JobEvent
from tests.cli.conftest import CommandLine, FakeQueue, ago, graph_id, job, job_id

DOCUMENTS = {
    "enqueue": ("build",),
    "submit": ("graph.yaml",),
    "status": (job_id(1), job_id(2)),
    "explain": (job_id(2),),
    "list": (),
    "graphs": (),
    "graph": (graph_id(1),),
    "wait": (job_id(1),),
    "cancel": (job_id(2), "--yes"),
    "retry": (job_id(2),),
    "workers": (),
    "version": (),
}

OTHERWISE = {
    "watch": "prints an object a line",
    "dev": "prints an object a line; see tests/system",
    "doctor": "needs a broker; see tests/system",
    "scheduler": "a process",
    "worker": "a process",
    "exec": "a process",
    "conformance": "needs a broker; see tests/conformance",
    "backup": "needs a database; see tests/system",
    "restore": "needs a database; see tests/system",
    "completion": "prints a script",
}


@pytest.fixture(autouse=True)
def _jobs(queue: FakeQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.jobs = [
        job(1, State.FINISHED, raw_result=RawJson(b'{"n" : 1.00}')),
        job(2, State.FAILED, error=Error(code="broken", message='it is "broken"\n')),
    ]
    counts = [messages.TypeCount(type="build", state=State.FAILED, jobs=1)]
    queue.graph_status = GraphStatus(id=graph_id(1), queued=ago(9), counts=counts)
    (tmp_path / "graph.yaml").write_text("jobs: {a: {type: t}}")
    monkeypatch.chdir(tmp_path)


def test_every_command_is_known_here() -> None:
    assert {*DOCUMENTS, *OTHERWISE} == {*typer.main.get_command(make_app()).commands}


@pytest.mark.parametrize("command", DOCUMENTS)
@pytest.mark.parametrize("where", ["before", "after"])
def test_what_is_printed_is_one_document(
    command_line: CommandLine, command: str, where: str
) -> None:
    words = [command, *DOCUMENTS[command]]
    found = command_line(*(["--json", *words] if where == "before" else [*words, "--json"]))
    assert found.code == 0, found.err
    assert isinstance(json.loads(found.out), dict)
    assert found.err == ""


def test_every_line_of_a_watch_is_an_object(command_line: CommandLine, queue: FakeQueue) -> None:
    states = (State.QUEUED, State.RUNNING, State.FINISHED)
    queue.events = [JobEvent(job=job_id(1), state=state, at=ago(1)) for state in states]
    found = command_line("watch", job_id(1), "--json")
    assert [json.loads(line)["state"] for line in found.out.splitlines()] == [*states]
