"""Conditions, combinations of edges, cycles."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_queue.errors import Invalid
from broker_queue.job import FINAL_STATES, Condition, State
from scheduler.rules.edges import SATISFIED_BY, Standing, combine, find_cycle, judge, weigh


def test_every_condition_is_in_the_table_and_accepts_final_states_only() -> None:
    assert set(SATISFIED_BY) == set(Condition)
    for accepted in SATISFIED_BY.values():
        assert accepted <= FINAL_STATES


@pytest.mark.parametrize("condition", Condition)
@pytest.mark.parametrize("state", State)
def test_an_edge_is_open_until_its_dependency_ends(condition: Condition, state: State) -> None:
    standing = judge(condition, state)
    if state not in FINAL_STATES:
        assert standing is Standing.OPEN
    else:
        accepted = state in SATISFIED_BY[condition]
        assert standing is (Standing.SATISFIED if accepted else Standing.BROKEN)


def test_failure_accepts_neither_skipped_nor_canceled() -> None:
    assert judge(Condition.FAILURE, State.SKIPPED) is Standing.BROKEN
    assert judge(Condition.FAILURE, State.CANCELED) is Standing.BROKEN


def test_weighing_counts_open_edges_and_names_the_first_broken_one() -> None:
    edges = [
        (1, Condition.SUCCESS, State.RUNNING),
        (2, Condition.SUCCESS, State.FAILED),
        (3, Condition.ANY, State.FAILED),
        (4, Condition.FAILURE, State.FINISHED),
    ]
    assert weigh(edges) == (1, 2)
    assert weigh([]) == (0, None)


def test_two_edges_to_one_job_say_together_what_both_say() -> None:
    assert combine(Condition.SUCCESS, Condition.SUCCESS, "f") is Condition.SUCCESS
    assert combine(Condition.ANY, Condition.FAILURE, "f") is Condition.FAILURE
    assert combine(Condition.SUCCESS, Condition.ANY, "f") is Condition.SUCCESS
    with pytest.raises(Invalid, match="no end of it satisfies both"):
        combine(Condition.SUCCESS, Condition.FAILURE, "jobs[1].dependencies[0]")


def test_a_cycle_is_named_as_a_path_that_ends_where_it_began() -> None:
    assert find_cycle([[1], [0]]) in ([0, 1, 0], [1, 0, 1])
    assert find_cycle([[0]]) == [0, 0]
    assert find_cycle([[], [0], [1, 0]]) is None
    long = [[(n + 1) % 1_000] for n in range(1_000)]
    cycle = find_cycle(long)
    assert cycle is not None
    assert len(cycle) == 1_001


@given(st.lists(st.lists(st.integers(0, 11), max_size=4), min_size=12, max_size=12))
def test_a_cycle_is_found_exactly_when_there_is_one(graph: list[list[int]]) -> None:
    found = find_cycle(graph)
    if found is None:
        left = set(range(12))
        while free := {node for node in left if not left.intersection(graph[node])}:
            left -= free
        assert not left
    else:
        assert found[0] == found[-1]
        steps = itertools.pairwise(found)
        assert all(before in graph[after] for before, after in steps)
