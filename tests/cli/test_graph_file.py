"""Graph files: what they say, and what is said of wrong ones."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from broker_queue.cli.graph_file import GraphFileError, read_graph
from broker_queue.graph import Graph
from broker_queue.job import Condition
from broker_queue.protocol import messages

NIGHTLY = """
name: nightly
jobs:
  fetch: {type: fetch, args: {url: "..."}}
  build:
    type: build
    args: {level: 3}
    references: {/source: fetch/path}
    after: [fetch]
    max_attempts: 3
    timeout: 10m
    backoff: {initial: 5s, factor: 3}
  notify: {type: notify, after: [{job: build, condition: failure}]}
  all: {after: [build]}
"""


def read(text: str, **options: Any) -> Graph:
    return read_graph(text, "n.yaml", **options)


def by_name(graph: Graph) -> dict[str, messages.NewJob]:
    return {job.name or "": job for job in graph.jobs}


def problems(text: str) -> list[str]:
    with pytest.raises(GraphFileError) as caught:
        read(text)
    return caught.value.problems


def test_a_file_becomes_a_graph() -> None:
    graph = read(NIGHTLY)
    jobs = by_name(graph)
    fetch, build = jobs["fetch"], jobs["build"]
    assert graph.name == "nightly"
    assert build.dependencies == [fetch.id]
    assert build.references == [messages.Reference(at="/source", job=fetch.id, pointer="/path")]
    assert (build.max_attempts, build.timeout) == (3, 600)
    assert build.backoff == messages.Backoff(initial=5, factor=3)
    assert jobs["notify"].dependencies == [
        messages.Dependency(job=build.id, condition=Condition.FAILURE)
    ]
    assert jobs["all"].type is None


def test_args_get_a_place_for_each_reference_and_stay_as_they_are_otherwise() -> None:
    graph = read(
        'jobs: {a: {type: t}, b: {type: t, args: {list: [0, 1], "$result": "a/x"},'
        " references: {/list/1: a, /deep/er: {job: a, pointer: /y}}}}"
    )
    args = json.loads(bytes(by_name(graph)["b"].args))
    assert args == {"list": [0, 1], "$result": "a/x", "deep": {"er": None}}


def test_a_reference_may_take_the_place_of_all_args() -> None:
    build = by_name(read('jobs: {a: {type: t}, b: {type: t, references: {"": a/x}}}'))["b"]
    assert bytes(build.args) == b"null"
    assert build.references[0].at == ""


def test_json_files_are_read_too() -> None:
    text = json.dumps({"jobs": {"a": {"type": "t"}, "b": {"type": "t", "after": "a"}}})
    jobs = by_name(read(text))
    assert jobs["b"].dependencies == [jobs["a"].id]


def test_existing_jobs_are_named_by_their_ids() -> None:
    known = "01990000-0000-7000-8000-000000000001"
    graph = read(f"jobs: {{a: {{type: t, after: [{known}], references: {{/x: {known}/y}}}}}}")
    assert graph.jobs[0].dependencies == [known]
    assert graph.jobs[0].references == [messages.Reference(at="/x", job=known, pointer="/y")]


def test_defaults_are_for_jobs_that_say_nothing_else() -> None:
    jobs = by_name(
        read(
            "defaults: {max_attempts: 3, channel: eu}\njobs: {a: {type: t}, b: {type: t, max_attempts: 1}, m: {}}"
        )
    )
    assert (jobs["a"].max_attempts, jobs["b"].max_attempts) == (3, 1)
    assert (jobs["a"].channel, jobs["m"].channel) == ("eu", "")


def test_a_file_without_id_is_a_new_graph_each_time() -> None:
    assert read(NIGHTLY).id != read(NIGHTLY).id
    assert read(NIGHTLY).jobs[0].id != read(NIGHTLY).jobs[0].id


def test_a_file_without_id_can_be_repeated_with_the_id_that_was_made_for_it() -> None:
    first = read(NIGHTLY)
    assert msgspec.json.encode(read(NIGHTLY, graph_id=first.id).jobs) == msgspec.json.encode(
        first.jobs
    )


def test_a_file_with_an_id_is_the_same_graph_each_time() -> None:
    wanted = "01990000-0000-7000-8000-000000000001"
    first, second = read(NIGHTLY, graph_id=wanted), read(f"id: {wanted}\n{NIGHTLY}")
    assert first.id == second.id == wanted
    assert msgspec.json.encode(first.jobs) == msgspec.json.encode(second.jobs)


def test_all_problems_are_told_at_once_each_with_line_and_field() -> None:
    text = """
jobs:
  fetch: {type: fetch, retries: 3}
  build:
    type: build
    after: [fetc, {job: fetch, condition: fail}]
    refernces: {}
    priority: high
    timeout: 10 parsecs
    available_at: 2026-01-31
  other: {type: b, references: {source: fetch}}
"""
    assert problems(text) == [
        "n.yaml:3: jobs.fetch.retries: unknown field; here it is 'max_attempts'",
        "n.yaml:7: jobs.build.refernces: unknown field; did you mean 'references'?",
        "n.yaml:8: jobs.build.priority: expected a whole number, got 'high'",
        "n.yaml:9: jobs.build.timeout: '10 parsecs' is no duration; write 90, 1.5s, 10m, 1h30m or 2d",
        "n.yaml:10: jobs.build.available_at: '2026-01-31' has no time zone; write 2026-01-31T18:00:00Z",
        "n.yaml:6: jobs.build.after[0]: no job 'fetc' in this file; did you mean 'fetch'?",
        "n.yaml:6: jobs.build.after[1].condition: expected one of success, failure, any, got 'fail'",
        'n.yaml:11: jobs.other.references.source: a place in the args begins with "/"; did you mean "/source"?',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'expected a mapping "jobs"'),
        ("jobs: []", 'expected a mapping "jobs"'),
        ("jobs: {a: {type: t}}\njob: 1", "job: unknown field; did you mean 'jobs'?"),
        ("name: 1\njobs: {a: {type: t}}", "name: expected text"),
        ("id: x\njobs: {a: {type: t}}", "'x' is no graph id"),
        ("jobs: {a: 1}", "jobs.a: expected a mapping, got 1"),
        ("jobs: {a: {type: 1}}", "jobs.a.type: expected text"),
        ("jobs: {a/b: {type: t}}", 'a job\'s name may not have a "/"'),
        ("jobs: {a: {args: 1}}", 'has args but no "type"'),
        ("jobs: {a: {type: t, after: [{condition: any}]}}", "expected the name of a job, got None"),
        (
            "jobs: {a: {type: t, priority: 99}}",
            "jobs.a.priority: expected a whole number from 0 to 9, got 99",
        ),
        (
            "jobs: {a: {type: 'x y'}}",
            "jobs.a.type: 'x y' is not the name of a type: letters (a to z, A to Z), digits and _ . : -",
        ),
        ("jobs: {a: {type: t, channel: 'x y'}}", "'x y' is not the name of a channel"),
        ("jobs: {a: {type: t, timeout: 0}}", "jobs.a.timeout: must be longer than 0 s"),
        ("jobs: {a: {type: t, delay: 9999d}}", "jobs.a.delay: is longer than ten years (3650d)"),
        ("jobs: {a: {type: t, max_attempts: 0}}", "expected a whole number from 1 to 1,000, got 0"),
        ("jobs: {a: {type: t, backoff: {factor: 0}}}", "expected a number from 1 to 100, got 0"),
        ("jobs: {a: {type: t, args: .nan}}", "n.yaml:1: .nan is no JSON number"),
        ("jobs: {a: {type: t, args: -.INF}}", "-.INF is no JSON number"),
        ("{jobs: {a: {type: t, args: .inf}}}", ".inf is no JSON number"),
        ("jobs: {" + "a" * 201 + ": {}}", "has 201 characters, at most 200 are allowed"),
        (
            "jobs: {a: {type: t, delay: 1, available_at: '2026-01-31T18:00:00Z'}}",
            "jobs.a.delay: give either delay or available_at, not both",
        ),
        (
            "jobs: {b: {type: t}, a: {after: [b, {job: b, condition: failure}]}}",
            "jobs.a.after: waits for 'b' both to finish",
        ),
        (
            "jobs: {b: {type: t}, a: {type: t, references: {/x: b}, after: {job: b, condition: failure}}}",
            "no end of it satisfies both",
        ),
        (
            "jobs: {b: {type: t}, a: {type: t, references: {/x: b, /x/y: b}}}",
            "jobs.a.references./x/y: this place lies inside '/x'",
        ),
        ("jobs: {b: {type: t}, a: {type: t, references: {/x: b/~y}}}", '"~" is written "~0"'),
        ("jobs: {a: {type: t, backoff: {initial: 1, factr: 2}}}", "unknown field 'factr'"),
        ("jobs: {a: {type: t, args: [1], references: {/5: b}}, b: {type: t}}", "no place for '5'"),
        (
            "jobs: {a: {type: t, references: {/x: {job: b, pointer: y}}}, b: {type: t}}",
            "begins with",
        ),
        ("jobs: {a: {type: t, after: a}}", "a → a"),
        (
            "jobs: {a: {type: t, after: b}, b: {type: t, references: {/x: a}}}",
            "would wait for each other",
        ),
        ("a: [", "no YAML"),
    ],
)
def test_wrong_files_are_refused_with_a_reason(text: str, problem: str) -> None:
    assert any(problem in found for found in problems(text))


def test_one_mistake_hides_no_other() -> None:
    text = """
name: [1]
jobs:
  "a/b": {type: 7, priority: 10, after: [c, {job: c, condition: failure}]}
  c: {type: t, timeout: soon, after: d}
  d: {type: "x y", references: {/p: c/q}, delay: -1}
  m: {priority: 99, args: 1}
"""
    assert problems(text) == [
        "n.yaml:2: name: expected text, got [1]",
        'n.yaml:4: jobs.a/b: a job\'s name may not have a "/", which references use',
        "n.yaml:4: jobs.a/b.type: expected text",
        "n.yaml:4: jobs.a/b.priority: expected a whole number from 0 to 9, got 10",
        "n.yaml:4: jobs.a/b.after: waits for 'c' both to finish (as a reference does) and to fail; "
        "no end of it satisfies both",
        "n.yaml:5: jobs.c.timeout: 'soon' is no duration; write 90, 1.5s, 10m, 1h30m or 2d",
        "n.yaml:6: jobs.d.type: 'x y' is not the name of a type: "
        "letters (a to z, A to Z), digits and _ . : - are allowed",
        "n.yaml:6: jobs.d.delay: must not be negative",
        'n.yaml:7: jobs.m: has args but no "type"; only a milestone has no type',
        "n.yaml:7: jobs.m.priority: expected a whole number from 0 to 9, got 99",
        "n.yaml:3: jobs: jobs would wait for each other: c → d → c; remove one of these dependencies",
    ]


def test_a_graph_may_be_empty() -> None:
    assert (read("name: n\njobs: {}").name, len(read("jobs: {}"))) == ("n", 0)


def test_many_problems_are_cut_in_the_message_only() -> None:
    text = "jobs: {" + ", ".join(f"a{i}: {{type: t, x: 1}}" for i in range(30)) + "}"
    with pytest.raises(GraphFileError, match="… and 20 more") as caught:
        read(text)
    assert len(caught.value.problems) == 30
