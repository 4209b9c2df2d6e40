"""The figures with very many jobs as Markdown; the same document gives the same text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scale.goals import Goal, goals, rows_of
from benchmarks.scale.parts import COST, PARTS
from benchmarks.summary import RESULTS as FOLDER
from benchmarks.tables import as_table

RESULTS = FOLDER / "scale.json"
SMALL = FOLDER / "scale-small.json"
"""Of a run at a smaller scale, whose figures are not for the docs."""


def reached(document: Mapping[str, Any]) -> str:
    """Every goal, and whether it was reached."""
    rows = [
        [
            goal.text,
            "" if goal.found is None else f"**{_unit(_number(goal.found), goal)}**",
            _unit(_number(goal.must), goal),
            _unit(_number(goal.aim), goal),
            goal.reached,
            f"{goal.jobs:,}" if goal.jobs else "",
        ]
        for goal in goals(document)
    ]
    return as_table(["figure", "measured", "must", "aim", "reached", "jobs"], rows)


def costs(document: Mapping[str, Any]) -> str:
    """The cost of a job by what else is in the database."""
    rows = [
        [
            f"`{row['shape']}`",
            f"{row['size']:,}",
            f"{row['probe']:,}",
            _range(row["rates"], "{:,.0f}"),
            _range(row["scheduler"], "{:,.0f}"),
        ]
        for part in COST
        for row in rows_of(document, part)
    ]
    head = ["shape", "jobs there", "jobs of a probe", "jobs/s", "scheduler, microseconds a job"]
    return as_table(head, rows)


def submits(document: Mapping[str, Any]) -> str:
    """How long the submit of one very large graph takes."""
    rows = [
        [
            f"`{row['shape']}`",
            f"{row['jobs']:,}",
            f"{row['edges']:,}",
            _range(row["seconds"], "{:.2f} s"),
            _range(row["scheduler"], "{:,.0f}"),
            f"{row['peak']:.0f} MB",
        ]
        for row in rows_of(document, "submit")
    ]
    head = [
        "graph", "jobs", "edges", "submit returns after", "scheduler, microseconds a job",
        "its memory, peak",
    ]  # fmt: skip
    return as_table(head, rows)


def stalls(document: Mapping[str, Any]) -> str:
    """How long something large takes, and how long it holds up unrelated jobs."""
    rows = [
        [
            row["what"],
            f"{row['jobs']:,}",
            _range(row["seconds"], "{:.2f} s"),
            f"{median(row['usual']):.0f} ms",
            f"**{max(row['longest']):.0f} ms** ({_each(row['longest'])})",
            f"{max(row['longest_answer']):.0f} ms",
        ]
        for row in rows_of(document, "stalls")
    ]
    head = [
        "what", "jobs", "takes", "unrelated job starts, usually", "longest stall (each time)",
        "longest `enqueue`",
    ]  # fmt: skip
    return as_table(head, rows)


def waiting(document: Mapping[str, Any]) -> str:
    """Memory and restart with many waiting jobs."""
    rows = [
        [
            WAITING[row["what"]],
            f"{row['jobs']:,}",
            _range(row["answers"], "{:.2f} s") if "answers" in row else "",
            _range(row["works"], "{:.2f} s") if "works" in row else "",
            f"{row['memory']:.0f} MB",
            f"{row['peak']:.0f} MB",
        ]
        for row in rows_of(document, "waiting")
    ]
    head = ["scheduler", "waiting jobs", "answers after", "first job done after", "memory", "peak"]
    return as_table(head, rows)


WAITING = {
    "filled": "that took them all",
    "stop": "after a restart",
    "kill -9": "after `kill -9` and a restart",
}


def latency(document: Mapping[str, Any]) -> str:
    """From the end of a job to the start of the next, idle and at half load."""
    rows = [
        [
            row["what"] + (f": {row['reached']:,.0f} jobs/s beside" if "reached" in row else ""),
            *(f"{row[share]:.1f} ms" for share in ("p50", "p90", "p99", "max")),
            _range(row["each_p99"], "{:.1f} ms"),
            f"{row['jobs']:,}",
        ]
        for row in rows_of(document, "latency")
        if "histogram" in row
    ]
    return as_table(["", "p50", "p90", "p99", "max", "p99 of each chain", "jobs"], rows)


def settings(document: Mapping[str, Any]) -> str:
    """On what, when and how large it was measured, and what is missing."""
    hardware = document["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    parts = document["parts"]
    lines = [
        f"Measured on {hardware['cores']} cores ({hardware['processor']}), {hardware['memory']}, "
        f"{hardware['system']}, that the broker, all processes and the client share. {versions}.",
        "",
        as_table(
            ["part", "date", "share of the full sizes", "took", ""],
            [_part(name, parts[name]) for name in PARTS if name in parts],
        ),
    ]
    return "\n".join(lines)


def read(path: Path = RESULTS) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document, an answer a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    marks: dict[str, str] = {}
    parts = {}
    for name, found in document["parts"].items():
        rows = ",\n".join(f"        {json.dumps(row)}" for row in found["rows"])
        marks[f'"rows of {name}"'] = f"[\n{rows}\n      ]" if rows else "[]"
        parts[name] = {**found, "rows": f"rows of {name}"}
    text = json.dumps({**document, "parts": parts}, indent=2)
    for mark, rows in marks.items():
        text = text.replace(mark, rows)
    path.write_text(text + "\n")


def _part(name: str, found: Mapping[str, Any]) -> Sequence[str]:
    return [
        f"`{name}`",
        found["date"],
        f"{found['scale']:g}",
        f"{found['seconds']:.0f} s",
        found.get("void", "").replace("|", "/"),
    ]


def _range(values: Sequence[float], pattern: str) -> str:
    """Return the median, and the least and the most."""
    shown = [pattern.format(each) for each in (median(values), min(values), max(values))]
    return f"**{shown[0]}** ({shown[1]} to {shown[2]})"


def _each(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _unit(number: str, goal: Goal) -> str:
    return f"{number} {goal.unit}".rstrip()
