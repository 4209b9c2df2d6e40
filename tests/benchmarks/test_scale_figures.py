"""What is made of the raw figures with very many jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale import tables
from benchmarks.scale.figures import (
    BINS_PER_DECADE,
    Sample,
    find_stalls,
    growth,
    histogram,
    lower_edge,
    spread,
    steps,
)
from benchmarks.scale.fillers import CHAIN, CHUNK, LAYERS, RANDOM, Shape, blocks, parents_of
from benchmarks.scale.goals import AIM, MISSED, MUST, TOO_SMALL, UNKNOWN, Goal, goals
from benchmarks.scale.parts import PARTS, chosen
from benchmarks.summary import percentile
from tests.support import generated


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.5, 51), (0.9, 91), (0.99, 100), (1.0, 100)]
)
def test_a_percentile_is_one_of_the_values(share: float, value: int) -> None:
    assert percentile(range(1, 101), share) == value


def test_a_spread_is_in_milliseconds_and_has_all_values_in_its_histogram() -> None:
    found = spread([0.004, 0.001, 0.003, 0.002])
    assert (found["jobs"], found["p50"], found["max"]) == (4, 3.0, 4.0)
    assert sum(found["histogram"].values()) == 4


def test_each_value_is_in_the_bin_that_begins_below_it() -> None:
    for value in (0.05, 1.0, 9.99, 10.0, 123.4):
        ((number, count),) = histogram([value]).items()
        assert count == 1
        assert lower_edge(int(number)) <= value * 1.000001
        assert value < lower_edge(int(number) + 1) * 1.000001


def test_a_latency_of_nothing_has_a_bin() -> None:
    assert histogram([0.0]) == {str(-2 * BINS_PER_DECADE): 1}


def test_the_steps_of_a_histogram_have_no_holes_and_sum_up_to_all() -> None:
    edges, shares = steps({"3": 1, "6": 3})
    assert len(edges) == 5
    assert shares == [25.0, 0.0, 0.0, 75.0]


def test_a_stall_counts_from_when_the_job_was_due() -> None:
    samples = [
        Sample(due=1.0, answered=1.01, started=1.02),
        Sample(due=2.0, answered=2.9, started=3.0),  # held up, and had been due before
        Sample(due=2.5, answered=2.6, started=2.7),
        Sample(due=9.0, answered=9.9, started=9.9),  # after it all
    ]
    found = find_stalls(samples, begun=2.2, ended=8.0)
    assert found.jobs == 2
    assert found.usual == pytest.approx(0.02)
    assert found.longest == pytest.approx(1.0)
    assert found.longest_answer == pytest.approx(0.9)


def test_a_stall_without_jobs_to_tell_is_no_stall_of_zero() -> None:
    with pytest.raises(ValueError, match="0 unrelated jobs before"):
        find_stalls([Sample(5.0, 5.1, 5.1)], begun=5.0, ended=6.0)


def test_the_growth_compares_with_a_hundredth_of_the_largest_size() -> None:
    rows = [
        {"size": size, "scheduler": [cost, cost * 10, cost]}
        for size, cost in ((1_000, 7.0), (10_000, 4.0), (100_000, 9.0), (1_000_000, 5.0))
    ]
    assert growth(rows, "scheduler") == 1.25
    assert growth(rows[:1], "scheduler") is None


def test_a_growth_that_was_cut_off_before_the_largest_size_reaches_nothing() -> None:
    rows = [{"size": size, "scheduler": [1.0], "elapsed": [1.0]} for size in (1_000, 100_000)]
    whole: dict[str, Any] = {"scale": 1.0, "rows": rows}
    for part, reached in ((whole, AIM), (whole | {"void": "more than 500 s"}, TOO_SMALL)):
        found = goals({"parts": {"cost-flat": part}})
        assert {each.reached for each in found if each.jobs} == {reached}


@pytest.mark.parametrize("shape", Shape)
def test_parents_are_earlier_jobs(shape: Shape) -> None:
    found = parents_of(shape, 250)
    assert len(found) == 250
    assert all(parent < job for job, parents in enumerate(found) for parent in parents)
    assert all(len(set(parents)) == len(parents) for parents in found)


def test_random_graphs_are_many_beside_each_other() -> None:
    found = parents_of(Shape.RANDOM, 2 * RANDOM + 5)
    assert all(parent >= RANDOM for parents in found[RANDOM : 2 * RANDOM] for parent in parents)
    assert found[2 * RANDOM + 4] == [2 * RANDOM + parent for parent in found[4]]


def test_chains_and_layers_are_what_they_are_called() -> None:
    assert sum(not parents for parents in parents_of(Shape.CHAINS, 3 * CHAIN)) == 3
    layers = parents_of(Shape.LAYERS, 10 * LAYERS)
    assert sum(not parents for parents in layers) == 10
    assert {len(parents) for parents in layers[10:]} == {2}
    assert {parent // 10 for parent in layers[35]} == {2}


def test_blocks_add_up() -> None:
    assert blocks(0) == []
    assert blocks(2 * CHUNK + 1) == [(0, CHUNK), (CHUNK, CHUNK), (2 * CHUNK, 1)]


def test_parts_are_chosen_by_name_or_all_costs_at_once() -> None:
    assert chosen([]) == list(PARTS)
    assert chosen(["waiting", "latency"]) == ["latency", "waiting"]
    assert chosen(["cost"]) == ["cost-flat", "cost-chains", "cost-random"]
    assert chosen(["cost-flat"]) == ["cost-flat"]


@pytest.mark.parametrize(
    ("found", "is_full", "reached"),
    [
        (2.0, True, AIM),
        (2.1, True, MUST),
        (5.1, True, MISSED),
        (2.0, False, TOO_SMALL),
        (None, True, UNKNOWN),
    ],
)
def test_a_goal_is_reached_only_with_as_many_jobs_as_it_speaks_of(
    found: float | None, is_full: bool, reached: str
) -> None:
    goal = Goal(text="", unit="s", must=5, aim=2, found=found, is_full=is_full)
    assert goal.reached == reached


def _document(scale: float = 1.0) -> dict[str, Any]:
    rows: dict[str, list[dict[str, Any]]] = {
        "latency": [
            {"what": "idle", **spread([0.002, 0.004]), "each_p50": [4.0], "each_p99": [4.0]},
            {"what": "flat", "rates": [100.0]},
        ],
        "submit": [
            {
                "shape": "flat",
                "jobs": 5,
                "edges": 0,
                "seconds": [1.0, 3.0],
                "scheduler": [9.0],
                "peak": 99.0,
            }
        ],
        "stalls": [
            {
                "what": "fan-out",
                "jobs": 5,
                "seconds": [1.0, 2.0],
                "usual": [5.0, 5.0],
                "longest": [90.0, 120.0],
                "longest_answer": [30.0, 40.0],
            }
        ],
        "waiting": [
            {"what": "filled", "jobs": 5, "seconds": 1.0, "memory": 90.0, "peak": 99.0},
            {
                "what": "kill -9",
                "jobs": 5,
                "answers": [1.0],
                "works": [11.0],
                "memory": 80.0,
                "peak": 80.0,
            },
        ],
    }
    return {
        "hardware": {"cores": 2, "processor": "P", "memory": "1 GiB", "system": "S"},
        "versions": {"RabbitMQ": "4"},
        "parts": {
            name: {"date": "2026-01-01", "scale": scale, "rows": each, "seconds": 2.0}
            for name, each in rows.items()
        },
    }


def test_the_goals_say_what_was_reached_and_what_is_missing() -> None:
    found = {goal.text: goal for goal in goals(_document())}
    assert found["end of a job → start of the next, idle, p99"].reached == AIM
    assert found["end of a job → start of the next, half load, p99"].reached == UNKNOWN
    stall = found["longest stall of an unrelated job, fan-out of 100,000"]
    assert (stall.found, stall.reached) == (120.0, MUST)
    assert found["submit of a graph of 100,000 jobs, flat"].found == 2.0
    assert found["1,000,000 waiting jobs: memory of the scheduler"].found == 90.0
    killed = found["1,000,000 waiting jobs: first job done after `kill -9` and a restart"]
    assert killed.reached == MISSED
    assert {goal.reached for goal in goals(_document(0.1))} == {TOO_SMALL, UNKNOWN}


def test_the_tables_have_a_row_for_each_answer_whatever_is_missing() -> None:
    document = _document()
    document["parts"]["stalls"]["void"] = "more than 300 s"
    assert "| kill" not in tables.waiting(document)
    assert "after `kill -9` and a restart | 5 | **1.00 s**" in tables.waiting(document)
    assert "| idle | 4.0 ms |" in tables.latency(document)
    assert "| `flat` | 5 | 0 | **2.00 s** (1.00 s to 3.00 s) |" in tables.submits(document)
    assert "| 5 ms | **120 ms** (90, 120) | 40 ms |" in tables.stalls(document)
    assert len(tables.costs({"parts": {}}).splitlines()) == 2
    assert "| `stalls` | 2026-01-01 | 1 | 2 s | more than 300 s |" in tables.settings(document)
    assert f"| {MISSED} | 5 |" in tables.reached(document)


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "scale.json"
    tables.write(path, _document())
    assert tables.read(path) == json.loads(json.dumps(_document()))
    assert '        {"what": "flat", "rates": [100.0]}\n' in path.read_text()


def test_every_table_has_its_place_in_the_docs() -> None:
    names = [name for name in generated.PARTS if name.startswith("scale-")]
    text = (generated.DOCS / "performance.md").read_text()
    assert len(names) == 7
    assert [name for name in names if f"<!-- generated: {name} -->\n" not in text] == []
