"""What each workload costs is in a table, and no cost grows with the size of a batch or a database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from scheduler.work import Work
from tests.cost import budgets, in_memory, transactions
from tests.cost.database import Store, new_store
from tests.cost.in_memory import IN_MEMORY, count_calls
from tests.cost.on_broker import ON_BROKER
from tests.cost.transactions import TRANSACTIONS, Prepare, count_transaction

BUDGETS = budgets.load()

FEW, MANY = 100, 500
MOST_GROWTH = 1.1


@pytest.mark.parametrize("name", TRANSACTIONS)
async def test_a_transaction_costs_what_the_table_says(name: str, tmp_path: Path) -> None:
    budgets.check(name, await count_transaction(name, tmp_path), BUDGETS)


@pytest.mark.parametrize("name", IN_MEMORY)
async def test_messages_and_plans_cost_what_the_table_says(name: str) -> None:
    budgets.check(name, await count_calls(name), BUDGETS)


@pytest.mark.parametrize("name", ON_BROKER)
async def test_a_run_sends_what_the_table_says(name: str, broker_url: str, tmp_path: Path) -> None:
    budgets.check(name, await ON_BROKER[name](broker_url, tmp_path / "run"), BUDGETS)


def test_the_table_has_no_workload_that_is_not_counted() -> None:
    assert BUDGETS.keys() == TRANSACTIONS.keys() | IN_MEMORY.keys() | ON_BROKER.keys()


@pytest.mark.parametrize(
    ("small", "large", "more"),
    [
        ("submit of 100 flat jobs", "submit of 1,000 flat jobs", 1),  # ids in pieces of 500
        ("confirm of 1 job", "confirm of 200 jobs", 0),
        ("fold of 1 report", "fold of 200 reports", 0),
        ("fold of 1 failure", "fold of 200 failures", 0),
        ("fold of 200 reports, 1,000 jobs stored", "fold of 200 reports, 50,000 jobs stored", 0),
        ("step of 1 chain", "step of 100 chains", 0),
        ("last report of a fan-in of 100", "last report of a fan-in of 1,000", 0),
        ("report before a fan-out of 100", "report before a fan-out of 1,000", 2),  # in parts
        ("cancel of 10 jobs", "cancel of 100 jobs", 0),
        ("end of 1 delay", "end of 100 delays", 0),
    ],
)
def test_no_budget_allows_more_statements_for_more_jobs(small: str, large: str, more: int) -> None:
    budget = [BUDGETS[name]["statements"] for name in (small, large)]
    assert budget[1] == int(budget[0]) + more


@pytest.mark.parametrize(
    "prepare",
    [
        transactions.submitting,
        transactions.confirming,
        transactions.folding,
        transactions.folding_failures,
        transactions.stepping,
        transactions.opening_fan_out,
        transactions.canceling,
        transactions.canceling_graph,
        transactions.coming_due,
    ],
)
async def test_a_job_of_a_large_batch_costs_no_more_than_one_of_a_small_batch(
    prepare: Callable[[Store, int], Awaitable[Work]], tmp_path: Path
) -> None:
    in_sqlite, in_python = [], []
    for count in (FEW, MANY):
        this = _of(prepare, count)
        async with new_store(tmp_path / f"sqlite {count}") as store:
            counts = await store.count(await this(store))
            in_sqlite.append(counts["instructions of SQLite"])
        in_python.append(await transactions.count_bytecodes(this, tmp_path / f"python {count}"))
    _check_growth("instructions of SQLite", in_sqlite)
    _check_growth("instructions of Python", in_python)


@pytest.mark.parametrize(
    "make",
    [
        in_memory.plan,
        in_memory.plan_chained,
        in_memory.read_reports,
        in_memory.publish,
        in_memory.read_jobs,
        in_memory.build_graph,
    ],
)
async def test_a_message_among_many_costs_no_more_than_one_among_few(
    make: Callable[[int], Callable[[], object]],
) -> None:
    counted = [await in_memory.count_bytecodes(make, count) for count in (FEW, MANY)]
    _check_growth("instructions of Python", counted)


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ("fold of 200 reports, 1,000 jobs stored", "fold of 200 reports, 50,000 jobs stored"),
        ("step of 100 chains, 200 jobs stored", "step of 100 chains, 50,000 jobs stored"),
        ("last report of a fan-in of 100", "last report of a fan-in of 1,000"),
    ],
)
async def test_a_report_costs_no_more_in_a_large_database_or_graph(
    small: str, large: str, tmp_path: Path
) -> None:
    few, many = [await count_transaction(name, tmp_path) for name in (small, large)]
    for measure in ("statements", "instructions of SQLite", "calls"):
        assert many[measure] < few[measure] * MOST_GROWTH, (
            f"{large}: {measure}: counted {many[measure]:,}, and {few[measure]:,} for {small}"
        )


def _of(prepare: Callable[[Store, int], Awaitable[Work]], count: int) -> Prepare:
    return lambda store: prepare(store, count)


def _check_growth(measure: str, counted: list[int]) -> None:
    few, many = counted
    growth = (many / MANY) / (few / FEW)
    assert growth < MOST_GROWTH, (
        f"{measure}: {few:,} for {FEW} jobs and {many:,} for {MANY}, {growth:.2f} times as many for "
        f"each; at most {MOST_GROWTH} are allowed: cost must be in proportion to the jobs"
    )
