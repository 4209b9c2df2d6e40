"""Failpoints: each is somewhere in the code, kills where it is told to, and is nothing otherwise."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker_queue import failpoints
from broker_queue.failpoints import VARIABLE, Point
from tests.faults.plan import SCHEDULER_POINTS, WORKER_POINTS

ROOT = Path(__file__).parents[2]

COMES_THERE_THREE_TIMES = """
from broker_queue.failpoints import Point, failpoint
for time in range(3):
    print(time, flush=True)
    failpoint(Point.AFTER_ACK)
    failpoint(Point.BEFORE_RUN)
"""


def run(armed: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", COMES_THERE_THREE_TIMES],
        env=os.environ | {VARIABLE: armed}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout or done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("armed", "code", "said"),
    [
        ("", 0, "0\n1\n2\n"),
        ("after_ack", -signal.SIGKILL, "0\n"),
        ("after_ack:2", -signal.SIGKILL, "0\n1\n"),
        ("after_ack:4", 0, "0\n1\n2\n"),
        ("before_commit:1", 0, "0\n1\n2\n"),
        ("no_such_point:1", 1, "ValueError: 'no_such_point' is not a valid Point"),
    ],
)
def test_a_process_dies_the_nth_time_that_it_comes_to_the_point(
    armed: str, code: int, said: str
) -> None:
    assert run(armed) == (code, said)


def test_without_the_variable_a_point_does_nothing() -> None:
    assert failpoints.failpoint is failpoints._pass


@pytest.mark.parametrize("point", Point)
def test_every_point_is_in_the_code_of_its_process(point: Point) -> None:
    folder = ROOT / ("broker_queue" if point in WORKER_POINTS else "scheduler")
    assert point in WORKER_POINTS + SCHEDULER_POINTS
    call = re.compile(rf"failpoint\(Point\.{point.name}\)")
    assert any(call.search(path.read_text()) for path in folder.rglob("*.py"))
