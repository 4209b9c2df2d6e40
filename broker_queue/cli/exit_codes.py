"""What the exit code of a command says: one table, for the code, the help and the docs."""

from __future__ import annotations

from enum import IntEnum
from textwrap import wrap

from broker_queue.errors import (
    BrokerQueueError,
    Canceled,
    ConfigurationError,
    Conflict,
    Invalid,
    JobNotFinished,
    NotExist,
    NotRunning,
    Unavailable,
)

WIDTH = 70
"""Of a meaning in ``--help``, which shows it indented on 80 columns."""


class ExitCode(IntEnum):
    """Exit codes of ``broker-queue``; `MEANING` has the text for people."""

    OK = 0
    NOT_FINISHED = 1
    INVALID = 2
    NOT_EXIST = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    UNHEALTHY = 6
    INTERNAL = 70  # EX_SOFTWARE of sysexits.h
    TIMEOUT = 124  # as timeout(1) of GNU coreutils
    INTERRUPTED = 130  # as a shell reports SIGINT: 128 + 2


MEANING: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.NOT_FINISHED: "a job that was waited for did not finish (of a graph: failed or was canceled)",
    ExitCode.INVALID: "wrong usage, or input that cannot work (a cycle, a limit, a bad file)",
    ExitCode.NOT_EXIST: "no job or graph has this id",
    ExitCode.CONFLICT: "it contradicts what is stored: an id used twice, a job already handed out",
    ExitCode.UNAVAILABLE: "broker or scheduler out of reach; repeat the command, with the `--id` that the error names, if it names one",
    ExitCode.UNHEALTHY: "`doctor` or `conformance` found a problem",
    ExitCode.INTERNAL: "a defect in this program; `--debug` shows where",
    ExitCode.TIMEOUT: "the time given to wait is over; the jobs go on",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}


class WaitTimeout(BrokerQueueError):
    """The time given by ``--timeout`` is over and not all jobs have ended; they go on."""


class Interrupted(BrokerQueueError):
    """Ctrl-C came while something was waited for that goes on; the text says how to follow it."""


_CODES: tuple[tuple[type[BrokerQueueError], ExitCode], ...] = (
    (WaitTimeout, ExitCode.TIMEOUT),
    (Interrupted, ExitCode.INTERRUPTED),
    (JobNotFinished, ExitCode.NOT_FINISHED),
    (NotExist, ExitCode.NOT_EXIST),
    (Conflict, ExitCode.CONFLICT),
    (NotRunning, ExitCode.CONFLICT),
    (Canceled, ExitCode.CONFLICT),
    (Unavailable, ExitCode.UNAVAILABLE),
    (Invalid, ExitCode.INVALID),
    (ConfigurationError, ExitCode.INVALID),
)


def exit_code_for(error: BrokerQueueError) -> ExitCode:
    """Return the exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.INTERNAL)


def exit_code_table() -> str:
    """Return the table that ``--help`` ends with."""
    return "\n".join(
        f"{code:>4}  {line}" if number == 0 else f"{'':4}  {line}"
        for code, text in MEANING.items()
        for number, line in enumerate(wrap(text, WIDTH))
    )
