"""Runs all checks against one worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator
from typing import TypeAlias

from broker_queue.address import URL_VARIABLE
from broker_queue.conformance import level_1, level_2, level_3
from broker_queue.conformance.check import Check, Unchecked, Unmet
from broker_queue.conformance.looking import refusal
from broker_queue.conformance.stage import Plan, Stage
from broker_queue.conformance.verdict import LEVELS, Outcome, Rating, Result
from broker_queue.errors import Unavailable

CHECKS: tuple[tuple[int, tuple[Check, ...]], ...] = (
    (1, level_1.CHECKS),
    (2, level_2.CHECKS),
    (3, level_3.CHECKS),
)

ALL = tuple(check.name for _, checks in CHECKS for check in checks)

ESSENTIAL = frozenset({"consume", "result"})
"""Without these, nothing else can be seen."""

Finding: TypeAlias = tuple[Outcome, str, str]
"""How a check went, what was seen, and what to change."""

LEFT = "all others"
NOT_LOOKED_AT = "not looked at"

NOT_FOUND = 404
"""The broker's reply code."""


async def rehearse(
    plan: Plan,
    *,
    only: Container[str] = ALL,
    highest: int = LEVELS[-1],
    on_ready: Callable[[str], None],
    on_result: Callable[[Result], None],
    echo: Callable[[str], None],
) -> Rating:
    """Return what all checks have found.

    Args:
        plan: of the rehearsal.
        only: names of the checks to be made; the essential ones are made in any case.
        highest: level whose checks are the last to be made.
        on_ready: called with the URL for the worker before it is started.
        on_result: called with each result as it comes; where nothing more can be looked at, with one
            for all that is left of a level.
        echo: called with each line that the worker prints.

    Raises:
        ConfigurationError: the namespace is in use, or the port.
        Unavailable: the broker does not answer.
    """
    results: list[Result] = []
    async with Stage(plan, on_ready, echo) as stage:
        hindrance = ""
        left: set[int] = set()
        for level, check in _chosen(only, highest):
            result = await _result(stage, level, check, hindrance)
            results.append(result)
            if not hindrance:
                on_result(result)
            elif level not in left:
                left.add(level)
                on_result(Result(LEFT, level, NOT_LOOKED_AT, Outcome.UNCHECKED, hindrance))
            hindrance = hindrance or stage.hindrance
    return Rating(plan.job_type, tuple(results), is_whole=all(name in only for name in ALL))


def _chosen(only: Container[str], highest: int) -> Iterator[tuple[int, Check]]:
    for level, checks in CHECKS:
        for check in checks:
            if level <= highest and (check.name in only or check.name in ESSENTIAL):
                yield level, check


async def _result(stage: Stage, level: int, check: Check, hindrance: str) -> Result:
    if hindrance:
        return Result(
            check.name, level, check.title, Outcome.UNCHECKED, f"{NOT_LOOKED_AT}: {hindrance}"
        )
    begun = time.monotonic()
    try:
        found = await stage.place.unless_lost(_run(stage, check))
        others = await stage.place.unless_lost(stage.others())
        outcome, text, advice = _tell_of_others(stage, others, found)
        await stage.place.unless_lost(stage.calm_down(failed=outcome is Outcome.FAILED))
    except Unavailable as problem:
        raise Unavailable(
            f"the broker was lost in check {check.name}, which says nothing of the worker: {problem}"
        ) from problem
    if outcome is not Outcome.FAILED:
        _remark_closings(stage)
        if stage.remarks:
            outcome = Outcome.WARNING
    for remark, remedy in stage.remarks:
        text, advice = _joined(text, remark), _joined(advice, remedy)
    stage.remarks.clear()
    stage.refusals_seen = len(stage.journal.refusals())
    seconds = time.monotonic() - begun
    return Result(check.name, level, check.title, outcome, text, advice, seconds)


async def _run(stage: Stage, check: Check) -> Finding:
    try:
        return Outcome.PASSED, await check.run(stage), ""
    except Unmet as unmet:
        if unmet.ends:
            stage.hindrance = f"{check.name} failed"
        return Outcome.FAILED, unmet.text, unmet.advice
    except Unchecked as reason:
        return Outcome.UNCHECKED, str(reason), ""


def _tell_of_others(stage: Stage, count: int, found: Finding) -> Finding:
    """Return what a check has found after what may be the reason of it: others are given its jobs."""
    outcome, text, advice = found
    if not count or (stage.others_told and outcome is not Outcome.FAILED):
        return found
    stage.others_told = True
    who = "1 other consumer takes" if count == 1 else f"{count} other consumers take"
    return (
        Outcome.WARNING if outcome is Outcome.PASSED else outcome,
        _joined(f"{who} jobs from queue {stage.queue}, past the kit", text),
        _joined(
            "stop whatever else consumes it, or give another --namespace; the worker itself must "
            f"take the broker's URL from {URL_VARIABLE}",
            advice,
        ),
    )


def _remark_closings(stage: Stage) -> None:
    """Remark for what the broker closed something, though the jobs were done in the end."""
    for refused in stage.journal.refusals()[stage.refusals_seen :]:
        if refused.code != NOT_FOUND:  # of a queue that is still to come, say
            stage.remark(*refusal(refused))
            return


def _joined(first: str, second: str) -> str:
    return f"{first}\n{second}" if first else second
