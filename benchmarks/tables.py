"""The figures as Markdown; the same document gives the same text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.roster import ROSTER
from benchmarks.summary import Summary, latencies, percentile, summarize
from benchmarks.workloads import WORKLOADS

OURS = "ours"


def throughput(document: Mapping[str, Any]) -> str:
    """Jobs/s of everyone, by workload."""
    found = summarize(document["figures"])
    contenders = _contenders(found)
    reasons: list[str] = []
    head = ["workload", "jobs", *(ROSTER[name].title for name in contenders), "ours : best peer"]
    rows = [
        [
            f"`{name}`: {WORKLOADS[name].text}",
            f"{max(found[each, name].jobs for each in contenders if (each, name) in found):,}",
            *(_cell(found.get((each, name)), reasons) for each in contenders),
            _ratio(found, name),
        ]
        for name in _workloads(found)
    ]
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([as_table(head, rows), "", *notes])


def processor(document: Mapping[str, Any]) -> str:
    """Microseconds of processor time for each job."""
    found = summarize(document["figures"])
    rows = []
    for workload in _workloads(found):
        for name in _contenders(found):
            summary = found.get((name, workload))
            if summary is not None and summary.rate is not None:
                used = [f"{summary.processor.get(whose, 0):,.0f}" for whose in WHOSE]
                total = f"{sum(summary.processor.values()):,.0f}"
                rows.append([f"`{workload}`", ROSTER[name].title, *used, total])
    return as_table(["workload", "", *WHOSE.values(), "all"], rows)


WHOSE = {"client": "client", "processes": "its processes", "broker": "RabbitMQ", "redis": "Redis"}
"""Whose processor time is noted → heading."""


def latency(document: Mapping[str, Any]) -> str:
    """From the end of a job to the start of the next, on idle processes."""
    rows = [
        [
            ROSTER[name].title,
            *(f"{percentile(values, share):.1f} ms" for share in (0.5, 0.9, 0.99)),
            f"{len(values):,}",
        ]
        for name, values in latencies(document["figures"]).items()
    ]
    return as_table(["", "p50", "p90", "p99", "jobs"], rows)


def settings(document: Mapping[str, Any]) -> str:
    """Who ran with which settings, on what, and when."""
    hardware = document["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    lines = [
        f"Measured on {document['date']}, {document['rounds']} rounds in turn"
        f"{' at the small sizes of a quick run' if document['small'] else ''}, on "
        f"{hardware['cores']} cores ({hardware['processor']}), {hardware['memory']}, "
        f"{hardware['system']}, that the broker, Redis, all processes of the contender and the "
        "client share.",
        "",
        f"Versions: {versions}.",
        "",
        *(f"- **{ROSTER[name].title}**: {text}" for name, text in document["settings"].items()),
    ]
    return "\n".join(lines)


def _contenders(found: Mapping[tuple[str, str], Summary]) -> list[str]:
    return [name for name in ROSTER if any(name == each for each, _ in found)]


def _workloads(found: Mapping[tuple[str, str], Summary]) -> list[str]:
    return [name for name in WORKLOADS if any(name == each for _, each in found)]


def _cell(summary: Summary | None, reasons: list[str]) -> str:
    if summary is None:
        return ""
    if summary.rate is None:
        if summary.void not in reasons:
            reasons.append(str(summary.void))
        return f"no ({reasons.index(str(summary.void)) + 1})"
    return f"**{summary.rate:,.0f}** ({summary.rates[0]:,.0f} to {summary.rates[-1]:,.0f})"


def _ratio(found: Mapping[tuple[str, str], Summary], workload: str) -> str:
    ours = found.get((OURS, workload))
    rates = [
        summary.rate
        for (name, each), summary in found.items()
        if each == workload and ROSTER[name].is_peer and summary.rate is not None
    ]
    if ours is None or ours.rate is None or not rates:
        return ""
    return f"{ours.rate / max(rates):.1f}"


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
