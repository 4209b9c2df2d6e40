"""What the copy of a job depends on."""

from __future__ import annotations

import pytest

from broker_queue.job import Condition, State
from scheduler.rules import inheritance
from scheduler.rules.inheritance import Dependency, Inherited

SUCCESS, FAILURE, ANY = Condition.SUCCESS, Condition.FAILURE, Condition.ANY
FINISHED, FAILED = State.FINISHED, State.FAILED


def inherit(
    dependencies: list[Dependency], copies: dict[int, int], latest: dict[int, int]
) -> Inherited:
    """What the copy of job 0 depends on."""
    return inheritance.inherit({0: dependencies}, {0: 100, **copies}, latest)[0]


def test_copies_that_would_wait_for_each_other_do_not() -> None:
    """Job 3 is the copy of 1; it was made to wait for 2, which depends on 1."""
    dependencies = {2: [(1, SUCCESS, State.SKIPPED)], 3: [(2, SUCCESS, State.SKIPPED)]}
    found = inheritance.inherit(dependencies, {2: 5, 3: 6}, {1: 3})
    assert found[3].conditions == {5: SUCCESS}
    assert found[2].conditions == {1: SUCCESS}


def test_a_dependency_that_is_copied_too_is_followed_to_its_copy() -> None:
    found = inherit([(1, SUCCESS, FAILED), (2, ANY, FINISHED)], {1: 10}, {})
    assert found.conditions == {10: SUCCESS, 2: ANY}
    assert found.successors == {1: 10, 2: 2}


def test_one_that_was_retried_before_is_followed_to_its_latest_copy() -> None:
    assert inherit([(1, SUCCESS, FAILED)], {}, {1: 7}).conditions == {7: SUCCESS}


def test_the_latest_copy_may_itself_be_copied() -> None:
    assert inherit([(1, SUCCESS, FAILED)], {7: 10}, {1: 7}).conditions == {10: SUCCESS}


def test_one_that_ended_as_wanted_is_not_followed() -> None:
    assert inherit([(1, FAILURE, FAILED)], {}, {1: 7}).conditions == {1: FAILURE}


def test_two_that_come_to_be_the_same_count_once_in_the_place_of_the_first() -> None:
    found = inherit([(1, SUCCESS, FAILED), (3, SUCCESS, FINISHED), (7, ANY, FAILED)], {}, {1: 7})
    assert list(found.conditions.items()) == [(7, SUCCESS), (3, SUCCESS)]
    assert found.successors == {1: 7, 3: 3, 7: 7}


@pytest.mark.parametrize("second", [7, 2])
def test_one_whose_copy_is_wanted_to_end_otherwise_is_not_followed(second: int) -> None:
    state = FINISHED
    found = inherit([(1, SUCCESS, FAILED), (second, FAILURE, state)], {}, {1: 7, 2: 7})
    if second == 7:
        assert found.conditions == {1: SUCCESS, 7: FAILURE}
    else:
        assert found.conditions == {7: SUCCESS, 2: FAILURE}
