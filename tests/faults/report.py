"""The table of a run."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.run import Report

SHOWN = 5
"""Cases of each violation."""


def table(report: Report) -> str:
    """Return what was killed, what ran, and what was violated."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    total = report.kills.total()
    yield f"{'killed by SIGKILL':<40}{total:>8,}  (in {report.seconds:,.0f} s)"
    for (process, where), count in sorted(report.kills.items()):
        yield f"  {process:<10} {where:<27}{count:>8,}"
    yield f"{'paused by SIGSTOP':<40}{report.pauses.total():>8,}"
    for (process, what), count in sorted(report.pauses.items()):
        yield f"  {process:<10} {what:<27}{count:>8,}"
    yield f"{'takeovers':<40}{report.takeovers:>8,}"
    yield f"{'jobs':<40}{report.states.total():>8,}"
    for state, count in sorted(report.states.items()):
        yield f"  {state:<38}{count:>8,}"
    yield f"{'runs':<40}{report.runs:>8,}"
    yield f"  {'of attempts that had run before':<38}{report.rerun:>8,}"
    yield f"{'confirmed submits':<40}{report.submits:>8,}"
    yield f"{'confirmed cancels':<40}{report.cancels:>8,}"
    yield f"{'confirmed retries':<40}{report.retries:>8,}"
    yield f"{'  copies':<40}{report.copies:>8,}"
    late = report.late_starts
    latest = max((each.milliseconds for each in late), default=0.0)
    yield f"{'started after its cancel was confirmed':<40}{len(late):>8,}" + (
        f"  (at most {latest:.0f} ms after it)" if late else ""
    )
    yield f"{'given up by the broker':<40}{report.given_up:>8,}"
    violations = sum(map(len, report.violations.values()))
    yield f"{'violations':<40}{violations:>8,}"
    for what, cases in report.violations.items():
        yield f"  {what:<38}{len(cases):>8,}"
        yield from (f"    {case}" for case in cases[:SHOWN])
        if len(cases) > SHOWN:
            yield f"    … and {len(cases) - SHOWN} more"
