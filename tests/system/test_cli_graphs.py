"""The command line against a real scheduler: graphs."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from broker_queue.client import JobQueue
from broker_queue.errors import JobError
from broker_queue.job import State
from broker_queue.worker import Worker
from tests.cli.processes import CommandLine
from tests.cli.terminals import on_terminal
from tests.support.waiting import PATIENCE
from tests.support.workers import running

NIGHTLY = """
name: nightly
jobs:
  fetch: {type: fetch, args: {url: "https://example.org"}}
  build: {type: build, args: {level: 3}, references: {/source: fetch/path}}
  lint: {type: lint, after: [fetch]}
  notify: {type: notify, after: [{job: build, condition: failure}]}
  all: {after: [build, lint]}
"""


@pytest.fixture
def command_line(queue: JobQueue, broker_url: str, namespace: str, tmp_path: Path) -> CommandLine:
    (tmp_path / "nightly.yaml").write_text(NIGHTLY)
    return CommandLine(broker_url, namespace, tmp_path)


def make_worker(*, lint_fails: bool = False) -> Worker:
    worker = Worker()

    @worker.job("fetch")
    async def fetch(args: Any) -> dict[str, str]:
        return {"path": "/data"}

    @worker.job("build")
    async def build(args: Any) -> Any:
        return args

    @worker.job("lint")
    async def lint() -> None:
        if lint_fails:
            raise JobError("bad style", code="style", retry=False)

    @worker.job("notify")
    async def notify() -> None:
        pass

    return worker


async def test_a_graph_runs_with_results_put_into_args(
    command_line: CommandLine, broker_url: str, namespace: str
) -> None:
    async with running(make_worker(), broker_url, namespace):
        found = await command_line.run("submit", "nightly.yaml", "--wait", "--json")
    assert found.code == 0, "a job skipped because nothing failed is no failure"
    counts = {(c["type"], c["state"]): c["jobs"] for c in found.json["counts"]}
    assert counts == {
        ("fetch", "finished"): 1,
        ("build", "finished"): 1,
        ("lint", "finished"): 1,
        (None, "finished"): 1,
        ("notify", "skipped"): 1,
    }
    result = await command_line.run("wait", "last/build", "-q")
    assert json.loads(result.out) == {"level": 3, "source": "/data"}


async def test_a_failure_is_in_the_code_and_in_the_picture(
    command_line: CommandLine, broker_url: str, namespace: str
) -> None:
    async with running(make_worker(lint_fails=True), broker_url, namespace):
        found = await command_line.run("submit", "nightly.yaml", "--wait")
    assert found.code == 1
    assert "1 failed" in found.out
    assert "style: bad style" in found.out
    drawn = (await command_line.run("graph")).lines
    assert drawn[0].startswith("nightly  ")
    assert [line.strip(" ├└─│").split("  ")[0] for line in drawn[2:]] == [
        "✓ fetch",
        "✓ build",
        "↷ notify",
        "✗ lint",
        "↷ all",
    ]


async def test_retrying_a_graph_runs_its_failed_part(
    command_line: CommandLine, broker_url: str, namespace: str
) -> None:
    async with running(make_worker(lint_fails=True), broker_url, namespace):
        assert (await command_line.run("submit", "nightly.yaml", "--wait")).code == 1
    async with running(make_worker(), broker_url, namespace):
        retried = await command_line.run("retry", "last", "--json")
        assert len(retried.json["jobs"]) == 2, "lint, and the milestone that waited for it"
        assert (await command_line.run("wait", "last/all")).code == 0, "the copy, not the original"
        assert (await command_line.run("wait", "last")).code == 0
        again = await command_line.run("retry", "last", "--json")
        assert [pair["new"] for pair in again.json["jobs"]] == [False, False]


async def test_watch_tells_every_change_and_ends(
    command_line: CommandLine, broker_url: str, namespace: str
) -> None:
    async with running(make_worker(), broker_url, namespace):
        found = await command_line.run("submit", "nightly.yaml", "--watch", "--json")
    assert found.code == 0
    last: dict[str, str] = {}
    for line in found.lines:
        event = json.loads(line)
        last[event["name"]] = event["state"]
    assert last == {
        "fetch": "finished",
        "build": "finished",
        "lint": "finished",
        "all": "finished",
        "notify": "skipped",
    }
    again = await command_line.run("watch")
    assert again.code == 0
    assert again.lines[-1] == "nightly: 4 finished, 1 skipped"


async def test_watch_draws_bars_on_a_terminal(
    command_line: CommandLine, broker_url: str, namespace: str
) -> None:
    arguments = ("submit", "nightly.yaml", "--watch")
    async with (
        running(make_worker(), broker_url, namespace),
        on_terminal(command_line, *arguments) as (process, terminal),
    ):
        screen = await terminal.until(None)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
    assert "━" in screen
    assert "4 finished" in screen
    assert "\x1b[32m" in screen


async def test_a_graph_with_an_id_is_submitted_once(
    command_line: CommandLine, queue: JobQueue
) -> None:
    wanted = "01990000-0000-7000-8000-000000000009"
    for _ in range(2):
        found = await command_line.run("submit", "nightly.yaml", "--id", wanted)
        assert (found.code, found.out) == (0, f"{wanted}\n")
    assert len((await queue.list(graph=wanted)).jobs) == 5
    listed = await command_line.run("graphs", "--json")
    assert [graph["id"] for graph in listed.json["graphs"]] == [wanted]
    assert "nightly" in (await command_line.run("graphs")).out
    await command_line.run("submit", "nightly.yaml")
    page = (await command_line.run("graphs", "--limit", "1", "--json")).json
    rest = await command_line.run("graphs", "--before", str(page["next"]), "-q")
    assert rest.lines == [wanted]


async def test_a_graph_with_an_id_takes_in_what_its_file_has_more(
    command_line: CommandLine, queue: JobQueue
) -> None:
    wanted = "01990000-0000-7000-8000-000000000009"
    file = command_line.folder / "nightly.yaml"
    await command_line.run("submit", "nightly.yaml", "--id", wanted)
    file.write_text(NIGHTLY + "  publish: {type: publish, after: [all]}\n")
    assert (await command_line.run("submit", "nightly.yaml", "--id", wanted)).code == 0
    assert len((await queue.list(graph=wanted)).jobs) == 6
    file.write_text(NIGHTLY.replace("level: 3", "level: 4") + "  more: {type: publish}\n")
    found = await command_line.run("submit", "nightly.yaml", "--id", wanted)
    assert found.code == 4
    assert "jobs.build.id: " in found.err
    assert len((await queue.list(graph=wanted)).jobs) == 6


async def test_canceling_a_graph_cancels_what_is_open(
    command_line: CommandLine, queue: JobQueue
) -> None:
    await command_line.run("submit", "nightly.yaml")
    found = await command_line.run("cancel", "last", "--yes")
    assert found.out == "Canceled 5 jobs.\n"
    assert (await command_line.run("wait", "last")).code == 1


async def test_the_prompt_ends_at_once_with_ctrl_c_or_takes_an_answer(
    command_line: CommandLine, queue: JobQueue
) -> None:
    await command_line.run("submit", "nightly.yaml")
    question = "Cancel 5 jobs of graph nightly? [y/N]: "
    async with on_terminal(command_line, "cancel", "last") as (process, terminal):
        assert (await terminal.until(question)).endswith(question)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 130
    for answer, canceled in (("n", 0), ("y", 5)):
        async with on_terminal(command_line, "cancel", "last") as (process, terminal):
            await terminal.until(question)
            terminal.write(f"{answer}\n")
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == 0
        jobs = (await queue.list(states=[State.CANCELED])).jobs
        assert len(jobs) == canceled


async def test_ids_of_graphs_do_where_last_may_be_a_graph(command_line: CommandLine) -> None:
    graph = (await command_line.run("submit", "nightly.yaml")).out.strip()
    assert (await command_line.run("status", graph)).lines[0].startswith(f"nightly  {graph}")
    job = (await command_line.run("enqueue", "nobody")).out.strip()
    found = await command_line.run("cancel", job, graph)
    assert (found.code, found.out) == (3, "")
    assert found.err == f"Error: {graph} is a graph's id: give it alone, or as --graph\n"
    found = await command_line.run("explain", graph)
    assert found.err == f"Error: {graph} is a graph's id: name a job of it as GRAPH/NAME\n"
    found = await command_line.run("enqueue", "nobody", "--after", graph)
    assert found.err == f"Error: {graph} is a graph's id: name a job of it as GRAPH/NAME\n"
    assert (await command_line.run("cancel", graph, "--yes")).out == "Canceled 5 jobs.\n"
    assert (await command_line.run("wait", graph)).code == 1


async def test_a_wrong_file_reaches_nobody(command_line: CommandLine, queue: JobQueue) -> None:
    (command_line.folder / "wrong.yaml").write_text("jobs: {a: {type: t, after: a}}")
    found = await command_line.run("submit", "wrong.yaml")
    assert found.code == 2
    assert "a → a" in found.err
    assert (await queue.list()).jobs == []


async def test_a_graph_may_be_empty(command_line: CommandLine) -> None:
    (command_line.folder / "empty.yaml").write_text("name: empty\njobs: {}")
    graph = (await command_line.run("submit", "empty.yaml")).out.strip()
    assert (await command_line.run("graph", "last")).lines[1] == "no jobs"
    assert (await command_line.run("wait", graph)).code == 0


async def test_files_nested_too_deeply_are_wrong_input(command_line: CommandLine) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    (command_line.folder / "deep.json").write_text(f'{{"jobs": {deep}}}')
    (command_line.folder / "deep.yaml").write_text(f"jobs: {deep}")
    for arguments in (
        ("submit", "deep.json"),
        ("submit", "deep.yaml"),
        ("enqueue", "t", "@deep.json"),
    ):
        found = await command_line.run(*arguments)
        assert (found.code, "nested" in found.err) == (2, True), found


async def test_a_dry_run_needs_no_broker(command_line: CommandLine) -> None:
    command_line.url = "amqp://127.0.0.1:1/"
    assert (await command_line.run("submit", "nightly.yaml", "--dry-run")).code == 0
