"""The conformance kit says of every example which level it reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from broker_queue.cli import COMMAND
from broker_queue.conformance.verdict import Outcome, Rating
from tests.conformance.rehearsals import described, plan_of, rehearsed
from tests.languages.toolchains import (
    go_worker,
    java_worker,
    node_worker,
    plain_python_worker,
    ruby_worker,
    shell_worker,
)
from tests.support.waiting import TIMEOUT_FACTOR

SCRIPT = Path(__file__).parents[1] / "conformance" / "rehearsal.sh"

PATIENCE = 8.0 * TIMEOUT_FACTOR
"""Seconds: these are programs of several processes, side by side on a small machine."""

START_TIMEOUT = 30.0 * TIMEOUT_FACTOR
"""Seconds: pauses before a new connection grow from one cut to the next."""

LEVELS: dict[str, tuple[int, Callable[[], list[str]]]] = {
    "rehearsal.go": (3, go_worker),
    "rehearsal.node": (3, node_worker),
    "rehearsal.java": (3, java_worker),
    "rehearsal.ruby": (2, ruby_worker),
    "rehearsal.shell": (2, shell_worker),
    "rehearsal.python": (2, plain_python_worker),
    "rehearsal": (3, lambda: [*COMMAND, "exec", "rehearsal", "--", "sh", str(SCRIPT)]),
}


async def level_of(broker_url: str, job_type: str, command: list[str]) -> Rating:
    namespace = f"test-{uuid4().hex[:12]}"
    plan = plan_of(broker_url, namespace, *command, patience=PATIENCE, start_timeout=START_TIMEOUT)
    return await rehearsed(replace(plan, job_type=job_type, stop_timeout=PATIENCE * 2))


@pytest.mark.parametrize(
    "pair",
    [
        ("rehearsal.go", "rehearsal.shell", "rehearsal.python"),
        ("rehearsal.node", "rehearsal.ruby", "rehearsal.java", "rehearsal"),
    ],
    ids=str,
)
async def test_every_example_reaches_its_level(broker_url: str, pair: tuple[str, ...]) -> None:
    commands = {job_type: LEVELS[job_type][1]() for job_type in pair}
    ratings = await asyncio.gather(
        *(level_of(broker_url, job_type, command) for job_type, command in commands.items())
    )
    for job_type, rating in zip(pair, ratings, strict=True):
        expected = LEVELS[job_type][0]
        wrong = [
            result
            for result in rating.results
            if result.level <= expected and result.outcome is not Outcome.PASSED
        ]
        assert not wrong, f"{job_type}: {described(wrong)}"
        assert rating.level == expected
