"""What can go wrong, as one tree.

::

    BrokerQueueError
    ├── RequestError            the scheduler refused; one class for each code on the wire
    │   ├── NotExist            not_exist
    │   ├── NotRunning          not_running
    │   ├── Canceled            canceled
    │   ├── Invalid             invalid
    │   │   ├── Cycle           cycle
    │   │   └── TooLarge        too_large
    │   ├── Conflict            conflict
    │   └── Unavailable         unavailable (raised here, too, when nobody answers)
    ├── JobNotFinished          a job whose result was wanted ended in another way
    ├── ProtocolError           a message that does not keep the protocol
    ├── JobError                raised by a job function: this attempt failed, and how
    └── ConfigurationError      a setting, file or option that cannot work
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from broker_queue.job import JobId, State


class BrokerQueueError(Exception):
    """Base of every error that this package raises on purpose."""


class RequestError(BrokerQueueError):
    """The scheduler refused a request; nothing of the request was stored.

    Attributes:
        code: the word on the wire, the same for every language.
        details: machine-readable facts: which field, which job, which limit.
    """

    code: ClassVar[str]

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})


class NotExist(RequestError):
    """No job (or graph) has this id: never enqueued here, or forgotten since."""

    code = "not_exist"


class NotRunning(RequestError):
    """The report names a hand-over that is not the current one, or the job has ended already."""

    code = "not_running"


class Canceled(RequestError):
    """The job was canceled; what its worker still reports is discarded."""

    code = "canceled"


class Invalid(RequestError):
    """A field is missing, of the wrong type or out of bounds; ``details["field"]`` names it."""

    code = "invalid"


class Cycle(Invalid):
    """Jobs would wait for each other; ``details["path"]`` lists them in order."""

    code = "cycle"


class TooLarge(Invalid):
    """Over a size limit; ``details`` has ``field``, ``size`` and ``limit`` in bytes or items."""

    code = "too_large"


class Conflict(RequestError):
    """The request contradicts what is stored: an id reused for other content, a job handed out."""

    code = "conflict"


class Unavailable(RequestError):
    """Nobody answered in time; whether the call counted is unknown. The same call may be repeated.

    An `enqueue` is repeated with the id in ``details["job"]``, or it would enqueue a second job.
    Where ``details["sent"]`` is false, the call certainly reached nobody.
    """

    code = "unavailable"


class ProtocolError(BrokerQueueError):
    """A message that does not keep the protocol; the text says which part."""


class ConfigurationError(BrokerQueueError):
    """A setting, file or option that cannot work; the text says what to change."""


class JobNotFinished(BrokerQueueError):
    """A result was wanted of a job that failed, was skipped or was canceled.

    Attributes:
        job: its id.
        state: how it ended.
    """

    def __init__(self, job: JobId, state: State, reason: str) -> None:
        super().__init__(f"job {job} is {state}: {reason}")
        self.job = job
        self.state = state
        self.reason = reason


class JobError(BrokerQueueError):
    """Raise it in a job function to say how this attempt failed.

    Args:
        message: for people; shown by ``status`` and ``explain``.
        code: for programs; any other exception is reported with its class name as code.
        details: anything that serialises to JSON.
        retry: False ends the job now, whatever attempts are left.
        delay: wait this long before the next attempt, in seconds or as a timedelta, in place of the
            job's back-off.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "failed",
        details: Any = None,
        retry: bool = True,
        delay: timedelta | float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = details
        self.retry = retry
        self.delay = delay


REQUEST_ERRORS: dict[str, type[RequestError]] = {
    error.code: error
    for error in (NotExist, NotRunning, Canceled, Invalid, Cycle, TooLarge, Conflict, Unavailable)
}


def request_error(code: str, message: str, details: Mapping[str, Any] | None) -> RequestError:
    """Return the error of this code; an unknown code (a newer scheduler) becomes `Invalid`."""
    return REQUEST_ERRORS.get(code, Invalid)(message, details)


def perhaps_stored(error: Unavailable, kind: str, identity: str, again: str) -> Unavailable:
    """Return the error for something that was to be made, with how to repeat that safely.

    Args:
        error: why there was no answer.
        kind: what was to be made; `identity` stands under it in the details.
        identity: its id.
        again: what is to be repeated, and how.
    """
    details = {**error.details, kind: identity}
    if error.details.get("sent") is False:
        return Unavailable(error.message, details)
    text = f"{error.message}; whether the {kind} was stored is unknown: repeat {again}"
    return Unavailable(text, details)


def cycle_error(path: Sequence[str]) -> Cycle:
    """Return the error that names a cycle as a path; long ones are shortened in the text only."""
    shown = [*path[:4], f"… {len(path) - 8} more …", *path[-4:]] if len(path) > 9 else list(path)
    text = "jobs would wait for each other: " + " → ".join(shown)
    return Cycle(f"{text}; remove one of these dependencies", {"path": list(path)})
