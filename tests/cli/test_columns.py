"""Tables and bars that fit."""

from __future__ import annotations

import io

from rich.console import Console

from broker_queue.cli.columns import Column, fitting, table
from broker_queue.cli.states import bar, counts_marks, counts_text
from broker_queue.job import State

COLUMNS = [
    Column("id", ["0199", "0200"]),
    Column("name", ["a long name", ""], 0, flexible=True),
    Column("queued", ["12 s ago", "1 h ago"], 1),
    Column("ran", ["1.0 s", ""], 2, "right"),
    Column("empty", ["", ""], 0),
]


def printed(width: int) -> list[str]:
    out = io.StringIO()
    shown, _ = fitting(COLUMNS, width)
    Console(file=out, width=width).print(table(shown, width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_all_columns_that_say_something_are_shown_when_there_is_room() -> None:
    assert printed(60) == [
        "ID    NAME         QUEUED      RAN",
        "0199  a long name  12 s ago  1.0 s",
        "0200               1 h ago",
    ]


def test_the_least_important_column_goes_first() -> None:
    assert printed(30)[0] == "ID    NAME         QUEUED"
    assert printed(20)[0] == "ID    NAME"


def test_what_was_left_out_is_told_but_not_what_is_empty() -> None:
    titles = [[column.title for column in part] for part in fitting(COLUMNS, 20)]
    assert titles == [["id", "name"], ["queued", "ran"]]


def test_names_are_cut_last() -> None:
    assert printed(12) == ["ID    NAME", "0199  a lon…", "0200"]


def test_a_bar_has_its_width_and_shows_one_failure_in_a_million() -> None:
    found = bar({State.FINISHED: 1_000_000, State.FAILED: 1, State.RUNNING: 1}, 40)
    assert found.plain == "━" * 39 + "╍"
    assert [span.style for span in found.spans] == ["green", "red", "blue"]
    assert bar({}, 10).plain == "─" * 10


def test_counts_name_only_what_there_is() -> None:
    counts = {State.WAITING: 12_000, State.FAILED: 1, State.FINISHED: 0}
    assert counts_text(counts).plain == "1 failed, 12,000 waiting"
    assert counts_marks(counts).plain == "1 ✗  12,000 ○"
    assert counts_text({}).plain == counts_marks({}).plain == "no jobs"
