"""The figures with very many jobs as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.summary import RESULTS as FOLDER
from benchmarks.tables import as_table

RESULTS = FOLDER / "scale.json"


def costs(document: Mapping[str, Any]) -> str:
    """The cost of a job by what else is in the database."""
    rows = [
        [f"`{row['shape']}`", f"{row['size']:,}", row["void"], ""]
        if "void" in row
        else [
            f"`{row['shape']}`",
            f"{row['size']:,}",
            f"{row['rate']:,.0f}",
            f"{row['scheduler']:,.0f}",
        ]
        for row in document["cost"]
    ]
    return as_table(["shape", "jobs there", "jobs/s", "scheduler, microseconds a job"], rows)


def stalls(document: Mapping[str, Any]) -> str:
    """How long something large takes, and how long it holds up unrelated jobs."""
    rows = [
        [
            row["what"],
            f"{row['jobs']:,}",
            f"{row['edges']:,}",
            f"{row['seconds']:.2f} s",
            f"{row['usual'] * 1000:.0f} ms",
            f"{row['longest'] * 1000:.0f} ms",
        ]
        for row in document["stalls"]
    ]
    head = ["what", "jobs", "edges", "takes", "an unrelated job, usually", "at worst meanwhile"]
    return as_table(head, rows)


def restarts(document: Mapping[str, Any]) -> str:
    """Memory and restart with many waiting jobs."""
    rows = [
        [
            f"{row['jobs']:,}",
            f"{row['filled']:.0f} MiB",
            f"{row['seconds']:.1f} s",
            f"{row['restarted']:.0f} MiB",
        ]
        for row in document["restart"]
    ]
    return as_table(["waiting jobs", "memory", "restart until it answers", "memory then"], rows)


def write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")


def read(path: Path = RESULTS) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))
