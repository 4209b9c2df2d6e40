"""The commands, with a queue that only pretends."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker_queue.errors import Conflict, Invalid, NotExist, Unavailable
from broker_queue.graph import Edge
from broker_queue.job import Condition, State, parse_job_id
from broker_queue.overview import GraphStatus
from broker_queue.protocol import messages
from broker_queue.protocol.codec import RawJson
from broker_queue.status import Error, JobEvent
from tests.cli.conftest import CommandLine, FakeQueue, ago, graph_id, job, job_id

OPEN_GRAPH = GraphStatus(
    id=graph_id(1),
    queued=ago(1),
    name="nightly",
    counts=[messages.TypeCount(type="build", state=State.WAITING, jobs=3)],
)


def standard_input(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_enqueue_prints_the_id_and_nothing_else(
    command_line: CommandLine, queue: FakeQueue
) -> None:
    found = command_line("enqueue", "build", '{"level": 3}')
    assert (found.code, found.out, found.err) == (0, f"{job_id(1)}\n", "")


def test_enqueue_passes_everything_on(command_line: CommandLine, queue: FakeQueue) -> None:
    command_line(
        *("enqueue", "build", "[1, 2.50]", "--after", job_id(5), "--after-failure", job_id(6)),
        *("--after-any", job_id(7), "--after", job_id(8), "--name", "n", "--channel", "eu"),
        *("--priority", "9", "--max-attempts", "3", "--timeout", "10m", "--delay", "1h"),
    )
    ((_, (kind, args, edges, options)),) = queue.calls
    assert (kind, args) == ("build", b"[1, 2.50]")
    assert edges == [
        Edge(job_id(5)),
        Edge(job_id(8)),
        Edge(job_id(6), Condition.FAILURE),
        Edge(job_id(7), Condition.ANY),
    ]
    assert parse_job_id(options.pop("id"))
    assert options == {
        "name": "n",
        "channel": "eu",
        "priority": 9,
        "max_attempts": 3,
        "timeout": 600,
        "delay": 3600,
    }


def test_args_come_from_a_file_or_standard_input(
    command_line: CommandLine, queue: FakeQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "args.json"
    file.write_text('{"from": "file"}')
    command_line("enqueue", "build", f"@{file}")
    standard_input(monkeypatch, b'{"from": "stdin"}')
    command_line("enqueue", "build", "-")
    assert [args for _, (_, args, _, _) in queue.calls] == [
        b'{"from": "file"}',
        b'{"from": "stdin"}',
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("build", "{level: 3}"), "args is no JSON"),
        (("build", "{level: 3}"), "quote it for the shell"),
        (("build", "@"), "the name of the file is empty"),
        (("build", "@/dev/null/no"), "cannot read /dev/null/no: Not a directory"),
        (("build", "--timeout", "soon"), "'--timeout': 'soon' is no duration; write 90, 1.5s, 10m"),
        (("build", "--timeout", "0"), "'--timeout': must be longer than 0 s"),
        (("build", "--delay", "9999d"), "'--delay': is longer than ten years (3650d)"),
        (("a/b",), "'TYPE': 'a/b' is not the name of a type: letters (a to z, A to Z), digits and"),
        (("build", "--channel", "x y"), "'--channel': 'x y' is not the name of a channel: letters"),
        (("build", "--name", "n" * 201), "'--name': has 201 characters, at most 200 are allowed"),
        (("build", "--id", "zz"), "'--id': 'zz' is no job id: expected a UUID"),
        (("build", "--priority", "10"), "'--priority': "),
        (("build", "--after", "nonsense"), "'nonsense' is no job"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(
    command_line: CommandLine, queue: FakeQueue, arguments: tuple[str, ...], text: str
) -> None:
    found = command_line("enqueue", *arguments)
    assert found.code == 2
    assert text in found.err
    assert len(found.err.splitlines()) == 1
    assert found.out == ""


def test_enqueue_and_wait_shows_the_end_and_says_it_in_the_code(
    command_line: CommandLine, queue: FakeQueue
) -> None:
    queue.jobs = [job(1, State.FINISHED, raw_result=RawJson(b'{"ok": 1}'))]
    found = command_line("enqueue", "build", "--wait", "-q")
    assert (found.code, found.out) == (0, '{"ok": 1}\n')
    queue.jobs = [job(1, State.FAILED, error=Error(code="x", message="y"))]
    found = command_line("enqueue", "build", "--wait")
    assert (found.code, "x: y" in found.out) == (1, True)
    assert found.err == f"Enqueued {job_id(1)}; waiting until it has ended.\n"
    found = command_line("enqueue", "build", "--wait", "-q")
    assert (found.code, found.out, found.err) == (1, "", "")
    found = command_line("enqueue", "build", "--wait", "--json")
    assert (json.loads(found.out)["jobs"][0]["id"], found.err) == (job_id(1), "")


def test_what_was_not_answered_names_the_id_to_repeat_it_with(
    command_line: CommandLine, queue: FakeQueue, tmp_path: Path
) -> None:
    file = tmp_path / "graph.yaml"
    file.write_text("jobs: {a: {type: a}}")
    queue.unanswered = Unavailable("no answer")
    for command in (("enqueue", "build"), ("submit", str(file))):
        found = command_line(*command)
        assert found.code == 5
        named = re.search(
            r"no answer; whether the (job|graph) was stored is unknown: "
            r"repeat the command with --id (\S+)$",
            found.err,
            re.MULTILINE,
        )
        assert named
        told = json.loads(command_line("--json", *command, "--id", named[2]).err)
        assert told["error"]["details"] == {named[1]: named[2]}
    first, again = (graph for kind, graph in queue.calls if kind == "submit")
    assert [job.id for job in first.jobs] == [job.id for job in again.jobs]


def test_last_is_what_was_made_last(
    command_line: CommandLine, queue: FakeQueue, tmp_path: Path
) -> None:
    queue.jobs = [job(1, State.RUNNING)]
    command_line("enqueue", "build")
    assert command_line("status", "last", "-q").out == "running\n"
    file = tmp_path / "graph.yaml"
    file.write_text("jobs: {a: {type: t}}")
    queue.graph_status = OPEN_GRAPH
    graph = command_line("submit", str(file)).out.strip()
    command_line("cancel", "last", "--yes")
    assert queue.calls[-1] == ("cancel_graph", (graph, {"reason": None}))


def test_submit_sends_the_graph_of_a_file(
    command_line: CommandLine, queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input(monkeypatch, b"name: n\njobs: {a: {type: t}, b: {type: t, after: a}}")
    found = command_line("submit", "-", "--json")
    ((_, graph),) = queue.calls
    assert (graph.name, len(graph)) == ("n", 2)
    assert json.loads(found.out)["graph"] == graph.id


def test_a_dry_run_draws_and_sends_nothing(
    command_line: CommandLine, queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input(monkeypatch, b"jobs: {a: {type: t}, b: {type: t, after: a}, m: {after: [a, b]}}")
    found = command_line("submit", "-", "--dry-run")
    assert found.out.splitlines() == ["a  t", "└─ b  t", "   └─ m  milestone  also after a"]
    assert found.err == "3 jobs and 3 edges; nothing was sent.\n"
    assert queue.calls == []


def test_a_wrong_graph_file_is_code_2_with_every_problem(
    command_line: CommandLine, queue: FakeQueue, tmp_path: Path
) -> None:
    file = tmp_path / "graph.yaml"
    file.write_text("jobs:\n  a: {typ: t}\n  b: {type: t, after: [c]}\n")
    found = command_line("submit", str(file))
    assert found.code == 2
    assert found.err.splitlines() == [
        f"Error: {file}:2: jobs.a.typ: unknown field; did you mean 'type'?",
        f"{file}:3: jobs.b.after[0]: no job 'c' in this file",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotExist("no"), 3), (Conflict("no"), 4), (Invalid("no"), 2), (Unavailable("no"), 5)],
)
def test_refusals_are_one_line_and_a_code(
    command_line: CommandLine, queue: FakeQueue, error: Exception, code: int
) -> None:
    queue.error = error
    found = command_line("status", job_id(1))
    assert (found.code, found.out) == (code, "")
    assert found.err.splitlines()[0] == "Error: no"
    found = command_line("status", job_id(1), "--json")
    assert json.loads(found.err)["error"]["message"] == "no"


def test_a_defect_is_one_line_unless_debugging(command_line: CommandLine, queue: FakeQueue) -> None:
    queue.error = ZeroDivisionError("division by zero")
    found = command_line("status", job_id(1))
    assert found.code == 70
    assert found.err == (
        "Error: ZeroDivisionError: division by zero (a defect; --debug shows where)\n"
    )
    with pytest.raises(ZeroDivisionError):
        command_line("--debug", "status", job_id(1))


def test_status_asks_for_what_is_wanted(command_line: CommandLine, queue: FakeQueue) -> None:
    queue.jobs = [job(1, State.QUEUED), job(2, State.FAILED)]
    found = command_line("status", job_id(1), job_id(2), "--dependencies", "--args", "-q")
    assert found.out == "queued\nfailed\n"
    assert queue.calls == [
        ("job_statuses", ([job_id(1), job_id(2)], {"dependencies": True, "args": True}))
    ]


def test_a_page_asks_for_the_names_of_the_jobs_on_it_and_json_does_not(
    command_line: CommandLine, queue: FakeQueue
) -> None:
    edges = [messages.DependencyStatus(job=job_id(2), state=State.FAILED)]
    waiting = job(1, State.SKIPPED, dependencies=edges, skipped_because=job_id(2))
    queue.jobs = [waiting, job(2, State.FAILED, name="fetch")]
    found = command_line("status", job_id(1)).out
    assert found.count(f"{job_id(2)} (fetch)") == 2
    assert queue.calls[1:] == [("job_statuses", ([job_id(2)], {"result": False}))]
    assert f"{job_id(2)} (fetch)" in command_line("wait", job_id(1)).out
    queue.calls.clear()
    command_line("status", job_id(1), "--json")
    assert len(queue.calls) == 1


def test_wait_says_in_its_code_whether_all_finished(
    command_line: CommandLine, queue: FakeQueue
) -> None:
    queue.jobs = [job(1, State.FINISHED), job(2, State.SKIPPED)]
    assert command_line("wait", job_id(1)).code == 0
    assert command_line("wait", job_id(1), job_id(2)).code == 1


def test_wait_gives_up_with_the_code_of_a_timeout(
    command_line: CommandLine, queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_jobs: Any, **_options: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(queue, "wait", never)
    found = command_line("wait", job_id(1), "--timeout", "1s")
    assert (found.code, found.err) == (124, "Error: not all have ended within 1 s; they go on\n")


def test_a_graph_fails_by_what_failed_and_was_not_retried(
    command_line: CommandLine, queue: FakeQueue
) -> None:
    queue.graph_status = OPEN_GRAPH
    queue.jobs = [job(1, State.SKIPPED), job(2, State.FINISHED)]
    assert command_line("wait", "--graph", graph_id(1)).code == 0
    queue.jobs.append(job(3, State.FAILED, retried_as=job_id(4)))
    assert command_line("wait", "--graph", graph_id(1)).code == 0
    queue.jobs.append(job(4, State.FAILED))
    assert command_line("wait", "--graph", graph_id(1)).code == 1
    queue.jobs[-1] = job(4, State.CANCELED)
    assert command_line("watch", "--graph", graph_id(1)).code == 1


def test_watch_prints_a_line_for_each_change_when_it_is_no_terminal(
    command_line: CommandLine, queue: FakeQueue
) -> None:
    queue.events = [
        JobEvent(job=job_id(1), state=state, at=ago(1), type="build")
        for state in (State.WAITING, State.RUNNING, State.FINISHED)
    ]
    found = command_line("watch", job_id(1))
    assert found.code == 0
    lines = found.out.splitlines()
    assert ["● running" in lines[0], "✓ finished" in lines[1]] == [True, True]
    assert lines[2] == "1 job: 1 finished"
    as_json = command_line("watch", job_id(1), "--json").out.splitlines()
    assert [json.loads(line)["state"] for line in as_json] == ["waiting", "running", "finished"]


def test_canceling_a_graph_wants_a_yes(command_line: CommandLine, queue: FakeQueue) -> None:
    queue.graph_status = OPEN_GRAPH
    found = command_line("cancel", "--graph", graph_id(1))
    assert (found.code, found.err) == (2, "Error: this cancels 3 jobs; say --yes\n")
    assert queue.calls == []
    found = command_line("cancel", "--graph", graph_id(1), "--yes", "--reason", "enough")
    assert queue.calls == [("cancel_graph", (graph_id(1), {"reason": "enough"}))]
    assert found.out == "Canceled 3 jobs, 1 of them running: their workers are told to stop.\n"


def test_one_of_several_that_is_not_there_cancels_none(
    command_line: CommandLine, queue: FakeQueue
) -> None:
    queue.jobs = [job(1, State.QUEUED)]
    found = command_line("cancel", job_id(1), job_id(2))
    assert (found.code, found.err) == (3, f"Error: no job has the id {job_id(2)}\n")
    assert [name for name, _ in queue.calls] == ["job_statuses"]


def test_a_graph_that_has_ended_is_canceled_without_a_question(
    command_line: CommandLine, queue: FakeQueue
) -> None:
    counts = [messages.TypeCount(type="build", state=State.FINISHED, jobs=3)]
    queue.graph_status = replace(OPEN_GRAPH, counts=counts)
    assert command_line("cancel", "--graph", graph_id(1)).code == 0


def test_the_id_of_a_graph_stands_for_the_graph_where_last_may(
    command_line: CommandLine, queue: FakeQueue
) -> None:
    queue.graph_status = OPEN_GRAPH
    queue.jobs = [job(1, State.WAITING)]
    assert "○ build" in command_line("status", graph_id(1)).out
    assert command_line("cancel", graph_id(1), "--yes").code == 0
    assert queue.calls[-1] == ("cancel_graph", (graph_id(1), {"reason": None}))
    command_line("watch", graph_id(1))
    assert queue.calls[-2] == ("watch", graph_id(1))


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("cancel", job_id(1), graph_id(1)), "give it alone, or as --graph"),
        (("wait", job_id(1), graph_id(1)), "give it alone, or as --graph"),
        (("status", job_id(1), graph_id(1)), "give it alone"),
        (("explain", graph_id(1)), "name a job of it as GRAPH/NAME"),
    ],
)
def test_elsewhere_the_id_of_a_graph_is_told_as_one(
    command_line: CommandLine, queue: FakeQueue, arguments: tuple[str, ...], advice: str
) -> None:
    queue.graph_status = OPEN_GRAPH
    queue.jobs = [job(1, State.FINISHED)]
    found = command_line(*arguments)
    assert (found.code, found.out) == (3, "")
    assert found.err == f"Error: {graph_id(1)} is a graph's id: {advice}\n"


def test_canceling_jobs_adds_up(command_line: CommandLine, queue: FakeQueue) -> None:
    queue.jobs = [job(1, State.QUEUED), job(2, State.QUEUED)]
    found = command_line("cancel", job_id(1), job_id(2), "--dependents")
    assert found.out == "Canceled 2 jobs.\n"
    assert queue.calls[2] == ("cancel_job", (job_id(2), {"dependents": True, "reason": None}))


def test_retry_shows_each_job_with_its_copy(command_line: CommandLine, queue: FakeQueue) -> None:
    queue.jobs = [job(1, State.FAILED, name="nightly")]
    assert command_line("retry", job_id(1), "-q").out == f"{job_id(500)}\n"
    found = command_line("retry", job_id(1))
    assert found.out.splitlines()[1].split()[:4] == ["nightly", job_id(500), "◌", "queued"]
    assert found.err.startswith("Each of these had been retried before;")
    as_json = json.loads(command_line("retry", job_id(1), "--json").out)
    assert as_json == {"jobs": [{"job": job_id(1), "retried_as": job_id(500), "new": False}]}


def test_after_the_retry_of_one_job_last_is_its_copy(
    command_line: CommandLine, queue: FakeQueue
) -> None:
    queue.jobs = [job(1, State.FAILED)]
    command_line("enqueue", "build")
    found = command_line("retry", "last")
    assert (found.code, found.err) == (0, "")
    command_line("wait", "last")
    assert queue.calls[-1] == ("wait", [job_id(500)])


def test_after_the_retry_of_a_graphs_job_last_is_still_the_graph(
    command_line: CommandLine, queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input(monkeypatch, b"jobs: {a: {type: t}}")
    graph = command_line("submit", "-").out.strip()
    queue.jobs = [job(1, State.FAILED, name="a", graph=graph)]
    assert command_line("retry", "last/a", "-q").out == f"{job_id(500)}\n"
    assert command_line("status", "last/a", "-q").out == "queued\n", "the newest copy"


def test_a_retried_job_is_explained_with_its_copy(
    command_line: CommandLine, queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explain(wanted: Any) -> messages.Explanation:
        return messages.Explanation(job=wanted, state=State.FAILED, summary="build failed")

    monkeypatch.setattr(queue, "explain", explain)
    queue.jobs = [job(1, State.FAILED, retried_as=job_id(2))]
    assert command_line("explain", job_id(1)).out.splitlines() == [
        "✗ failed  build failed",
        f"  retried as {job_id(2)}",
    ]
    assert json.loads(command_line("explain", job_id(1), "--json").out)["retried_as"] == job_id(2)


def test_list_passes_the_filters_on(command_line: CommandLine, queue: FakeQueue) -> None:
    command_line(
        *("list", "--state", "failed", "--state", "canceled", "--type", "build"),
        *("--channel", "eu", "--graph", graph_id(1), "--name", "n", "--limit", "7"),
        *("--before", "99"),
    )
    assert queue.calls == [
        (
            "list",
            {
                "states": (State.FAILED, State.CANCELED),
                "type": "build",
                "channel": "eu",
                "graph": graph_id(1),
                "name": "n",
                "limit": 7,
                "before": 99,
            },
        )
    ]


def test_a_graph_is_drawn_in_three_ways(command_line: CommandLine, queue: FakeQueue) -> None:
    queue.graph_status = OPEN_GRAPH
    queue.jobs = [job(1, State.WAITING)]
    assert "○ build" in command_line("graph", graph_id(1)).out
    queue.jobs += [job(number, State.QUEUED) for number in range(10, 30)]
    assert "18 more build queued" in command_line("graph", graph_id(1)).out
    whole = command_line("graph", graph_id(1), "--all").out
    assert (whole.count("◌ build"), "more build" in whole) == (20, False)
    assert command_line("graph", graph_id(1), "--format", "dot").out.startswith('digraph "nightly"')
    mermaid = command_line("graph", graph_id(1), "--format", "mermaid").out
    assert mermaid.startswith("flowchart LR")


def test_explain_version_and_workers(command_line: CommandLine, queue: FakeQueue) -> None:
    assert command_line("explain", job_id(1)).out == "○ waiting  waits for fetch\n"
    assert set(json.loads(command_line("version", "--json").out)) == {
        "broker-queue",
        "protocol",
        "python",
    }
    assert json.loads(command_line("workers", "--json").out) == {"workers": []}


def test_completions_are_given_to_a_shell(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_BROKER_QUEUE_COMPLETE", "complete_bash")
    for words, expected in (
        ("sta", "status"),
        ("list --sta", "--state"),
        ("list --state fa", "failed"),
    ):
        monkeypatch.setenv("COMP_WORDS", f"broker-queue {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        with pytest.raises(SystemExit):
            command_line()
        assert expected in capsys.readouterr().out.split()


def test_completion_scripts_are_printed(command_line: CommandLine) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_BROKER_QUEUE_COMPLETE" in command_line("completion", shell).out
