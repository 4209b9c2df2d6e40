"""The table of budgets: what each workload may cost, by measure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

PATH = Path(__file__).with_name("budgets.toml")

BOUNDED = {
    "calls": 2,
    "instructions": 10,
    "pages": 1,
    "bytes": 2_000,
    "acknowledgements": 10,
    "answers": 10,
    "wait": 2,
    "transactions": 25,
}
"""Measures, by a word of their names, that may grow a little; by how much at least.

Another SQLite or Python counts a little differently. On a slow machine less is done together (messages
acknowledged, confirms noted), a wait is asked again, a worker greets once more. The others are exact.
"""

MARGIN = 0.1
"""What is bounded may grow by this part before somebody has to look."""

AT_MOST = "<= "

Counts: TypeAlias = dict[str, int]
"""By measure."""

Budgets: TypeAlias = Mapping[str, Mapping[str, int | str]]
"""By workload, then measure: a number is exact, a text such as ``<= 120`` is the most."""

HOW_TO_CHANGE = """\
If that is meant, write the table anew and say why in the commit:
    python -m tests.cost --write"""

HEAD = """\
# What each workload may cost; checked by tests/cost. A number is exact, "<= number" is the most, with
# what was counted behind it.
#
# If a change is meant to cost more, or costs less, write the table anew and say why in the commit:
#
#     python -m tests.cost --write
"""


def load() -> Budgets:
    """Return the table."""
    table: Budgets = tomllib.loads(PATH.read_text())
    return table


def render(counted: Mapping[str, Counts]) -> str:
    """Return the table that allows what was counted."""
    return HEAD + "".join(_section(name, counts) for name, counts in counted.items())


def check(workload: str, counts: Counts, budgets: Budgets) -> None:
    """Compare what was counted with the table.

    Raises:
        AssertionError: it is not as the table says; the text says what to do.
    """
    complaints = list(_complaints(workload, counts, budgets.get(workload, {})))
    assert not complaints, "\n".join([*complaints, HOW_TO_CHANGE])


def _section(workload: str, counts: Counts) -> str:
    lines = (f'"{measure}" = {_budget(measure, count)}\n' for measure, count in counts.items())
    return f'\n["{workload}"]\n{"".join(lines)}'


def _budget(measure: str, count: int) -> str:
    least = [plus for word, plus in BOUNDED.items() if word in measure]
    if not least:
        return str(count)
    most = count + max(least[0], round(count * MARGIN))
    return f'"{AT_MOST}{most}"  # {count}'


def _complaints(workload: str, counts: Counts, budgets: Mapping[str, int | str]) -> Iterator[str]:
    for measure, count in counts.items():
        budget = budgets.get(measure)
        if budget is None:
            yield f"{workload}: {measure}: counted {count:,}, and {PATH.name} has no budget for it"
        elif isinstance(budget, str):
            most = int(budget.removeprefix(AT_MOST))
            if count > most:
                yield f"{workload}: {measure}: counted {count:,}, the budget is at most {most:,}"
        elif count != budget:
            yield f"{workload}: {measure}: counted {count:,}, the budget is exactly {budget:,}"
    for measure in budgets.keys() - counts.keys():
        yield f"{workload}: {measure}: {PATH.name} has a budget for what is not counted any more"
