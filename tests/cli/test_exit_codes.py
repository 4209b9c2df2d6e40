"""Exit codes: one for every error, each explained."""

from __future__ import annotations

import pytest

from broker_queue import errors
from broker_queue.cli.exit_codes import MEANING, ExitCode, WaitTimeout, exit_code_for
from broker_queue.cli.graph_file import GraphFileError
from broker_queue.job import JobId, State


def test_every_code_has_a_meaning_and_stands_in_the_help(command_line) -> None:
    assert set(MEANING) == set(ExitCode)
    found = " ".join(command_line("--help").out.split())
    for code, text in MEANING.items():
        assert f"{code.value} {text}" in found


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotExist("x"), 3),
        (errors.Conflict("x"), 4),
        (errors.NotRunning("x"), 4),
        (errors.Canceled("x"), 4),
        (errors.Invalid("x"), 2),
        (errors.Cycle("x"), 2),
        (errors.TooLarge("x"), 2),
        (errors.ConfigurationError("x"), 2),
        (GraphFileError(["x"]), 2),
        (errors.Unavailable("x"), 5),
        (errors.JobNotFinished(JobId("x"), State.FAILED, "y"), 1),
        (WaitTimeout("x"), 124),
        (errors.ProtocolError("x"), 70),
    ],
)
def test_errors_have_codes(error: errors.BrokerQueueError, code: int) -> None:
    assert exit_code_for(error) == code


def test_every_code_of_the_wire_has_an_exit_code_of_its_own() -> None:
    for kind in errors.REQUEST_ERRORS.values():
        assert exit_code_for(kind("x")) is not ExitCode.INTERNAL
