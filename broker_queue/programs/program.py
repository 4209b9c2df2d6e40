"""A program in place of a job function: what it is told, and what is made of what it does."""

from __future__ import annotations

import re
from collections.abc import Callable

from broker_queue.address import NAMESPACE_VARIABLE, URL_VARIABLE, Address
from broker_queue.errors import Invalid, JobError
from broker_queue.job import FailureCode
from broker_queue.programs.launcher import Launcher
from broker_queue.programs.streams import Stderr, Stdout
from broker_queue.protocol.codec import RawJson, check_json, to_json
from broker_queue.running import Job

EX_USAGE = 64
EX_DATAERR = 65
"""Exit codes of sysexits.h that no further attempt can change."""

MESSAGE_LINES = 10
MESSAGE_CHARACTERS = 2_000
"""Of standard error, in the message of a failure; its details have more."""

JSON_SPACE = b" \t\r\n"

_PROGRESS = re.compile(r"::progress (?P<fraction>[01]|0?\.\d+|[01]\.\d+|-)(?: (?P<text>.*))?")


class Program:
    """Runs a program for each job.

    Args:
        launcher: starts it.
        address: of the scheduler, for its environment.
        as_text: its output is the result as a string, and need not be JSON.
        max_result: bytes.
        echo: called with each line of standard error.
    """

    def __init__(
        self,
        launcher: Launcher,
        address: Address,
        *,
        as_text: bool,
        max_result: int,
        echo: Callable[[Job, str], None],
    ) -> None:
        self._launcher = launcher
        self._address = address
        self._as_text = as_text
        self._max_result = max_result
        self._echo = echo

    async def run(self, args: RawJson, job: Job) -> RawJson:
        """Run it for one job and return the result.

        Raises:
            JobError: it failed, or its output is no result.
        """
        stdout = Stdout(self._max_result)
        stderr = Stderr(lambda line: self._tell(job, line))
        changes = environment(job, self._address)
        async with self._launcher.launch(args, changes, stdout, stderr) as launched:
            code = await launched.ended
        if code:
            raise failure(code, stderr)
        try:
            return text_result(stdout.data) if self._as_text else json_result(stdout.data)
        except ValueError as error:
            raise JobError(str(error), code=FailureCode.INVALID_RESULT, retry=False) from None

    def _tell(self, job: Job, line: str) -> bool:
        found = _PROGRESS.fullmatch(line)
        if found is None:
            self._echo(job, line)
            return True
        fraction = None if found["fraction"] == "-" else float(found["fraction"])
        _ = job.progress(fraction, found["text"])
        return False


def environment(job: Job, address: Address) -> dict[str, str | None]:
    """Return what a program is told of its job; None stands for a variable that must not be set."""
    found = {
        URL_VARIABLE: address.url,
        NAMESPACE_VARIABLE: address.names.namespace,
        "BROKER_QUEUE_JOB": job.id,
        "BROKER_QUEUE_JOB_TYPE": job.type,
        "BROKER_QUEUE_NAME": job.name,
        "BROKER_QUEUE_GRAPH": job.graph,
        "BROKER_QUEUE_CHANNEL": job.channel or None,
        "BROKER_QUEUE_ATTEMPT": str(job.attempt),
        "BROKER_QUEUE_MAX_ATTEMPTS": str(job.max_attempts),
        "TRACEPARENT": job.traceparent,
    }
    return {name: value and value.replace("\0", "") for name, value in found.items()}


def failure(code: int, stderr: Stderr) -> JobError:
    """Return the error that an exit code stands for; negative ones are signals."""
    is_signal = code < 0
    what = f"signal {-code}" if is_signal else f"exit code {code}"
    text = stderr.tail(MESSAGE_LINES, MESSAGE_CHARACTERS).strip()
    return JobError(
        text or f"the program ended with {what} and wrote nothing to standard error",
        code=_code(code),
        details={
            "signal" if is_signal else "exit_code": abs(code),
            "stderr": stderr.tail(),
        },
        retry=code not in {EX_USAGE, EX_DATAERR},
    )


def _code(code: int) -> str:
    if code == EX_DATAERR:
        return FailureCode.INVALID_ARGS
    return f"exit_{code}" if code > 0 else f"signal_{-code}"


def json_result(output: bytes) -> RawJson:
    """Return the result in output that must be JSON; none is null.

    Raises:
        ValueError: it is no JSON; the text says where.
    """
    text = output.strip(JSON_SPACE)
    if not text:
        return RawJson(b"null")
    try:
        check_json(text, "standard output", len(text))
    except Invalid as error:
        raise ValueError(f"{error.message}; --text would take it as a string") from None
    return RawJson(text)


def text_result(output: bytes) -> RawJson:
    """Return output as a string, without its last line break.

    Raises:
        ValueError: it is not UTF-8.
    """
    try:
        text = output.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"standard output is not UTF-8: {error.reason} at byte {error.start}"
        ) from None
    return RawJson(to_json(text.removesuffix("\n").removesuffix("\r")))
