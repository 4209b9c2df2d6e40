"""The name by which a worker is known: that of its hello, in whatever else it says."""

from __future__ import annotations

from broker_queue.conformance.check import Unmet
from broker_queue.conformance.journal import Report
from broker_queue.conformance.looking import valid
from broker_queue.conformance.played import HandedOut
from broker_queue.conformance.stage import Stage
from broker_queue.errors import RequestError
from broker_queue.protocol.codec import decode
from broker_queue.protocol.messages import Hello

NAMED = ("started", "lease", "heartbeat")
"""Reports in which a worker may name itself."""


def check_names(stage: Stage, job: HandedOut) -> None:
    """Return if the reports on a job name no other worker than its hello.

    Raises:
        Unmet: one does.
    """
    reports = stage.journal.reports_on(job.token, *NAMED)
    for report in reports:
        name, known = valid(report).worker, _greeted(stage, report.order)
        if name is not None and known and name not in known:
            raise Unmet(
                f"its report {report.kind} names the worker {name!r}, and its hello {known[-1]!r}",
                "give the name of hello, or none, in `started`, `lease` and `heartbeat`: of another, "
                "`explain` says that this worker has not been heard of",
            )
    unnamed = {report.kind for report in reports if valid(report).worker is None}
    named = {report.kind for report in reports if valid(report).worker is not None}
    if named and unnamed:
        stage.remark(
            f"it names itself in {_list(named)}, and not in {_list(unnamed)}",
            "name the worker in all of `started`, `lease` and `heartbeat`, or in none: a `started` "
            "with another name, or without one, counts as another worker's",
        )


def _greeted(stage: Stage, before: int) -> list[str]:
    """Return the names in what was said as hello before some moment."""
    hellos = [hello for hello in stage.journal.hellos if hello.order < before]
    return [name for name in map(_name, hellos) if name is not None]


def _name(hello: Report) -> str | None:
    try:
        return decode(hello.body, Hello).worker
    except RequestError:
        return None


def _list(kinds: set[str]) -> str:
    return " and ".join(f"`{kind}`" for kind in NAMED if kind in kinds)
