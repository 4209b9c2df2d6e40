"""The looks of ``--help``: options and commands in sections, without boxes and without rich.

Typer shows sections (its "panels") with rich only, which takes longer to import than everything
else that ``--help`` needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

Rows = list[tuple[str, str]]


class Command(TyperCommand):
    """A command whose options stand under the headings that they were declared with."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_sections(formatter, _parameters(self, ctx))


class Group(TyperGroup):
    """All commands under their headings; then the options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_sections(formatter, _commands(self, ctx))
        _write_sections(formatter, _parameters(self, ctx))


def _commands(group: TyperGroup, ctx: Any) -> Iterable[tuple[str, tuple[str, str]]]:
    for name in group.list_commands(ctx):
        found: Any = group.get_command(ctx, name)
        if found is not None and not found.hidden:
            first = (found.help or "").strip().splitlines()[0].rstrip(".")
            yield found.rich_help_panel or "Commands", (name, first)


def _parameters(command: Any, ctx: Any) -> Iterable[tuple[str, tuple[str, str]]]:
    later = []
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        row = (record[0], record[1].replace("  [required]", ""))
        if parameter.param_type_name == "argument":
            yield "Arguments", (row[0].partition(" <")[0], row[1])
        elif heading := getattr(parameter, "rich_help_panel", None):
            later.append((heading, row))
        else:
            yield "Options", row
    yield from later


def _write_sections(formatter: Any, entries: Iterable[tuple[str, tuple[str, str]]]) -> None:
    sections: dict[str, Rows] = {}
    for heading, row in entries:
        sections.setdefault(heading, []).append(row)
    width = max((len(row[0]) for rows in sections.values() for row in rows), default=0)
    for heading, rows in sections.items():
        with formatter.section(heading):
            padded = [(f"{name:<{min(width, 28)}}", text) for name, text in rows]
            formatter.write_dl(padded, col_max=30)
