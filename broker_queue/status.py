"""What a client is told of jobs: the wire's answers with datetimes, parsed JSON, typed ids."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, UnsetType

from broker_queue.errors import JobNotFinished
from broker_queue.job import GraphId, JobId, State
from broker_queue.moments import from_milliseconds, from_milliseconds_or_none
from broker_queue.plain import plain
from broker_queue.protocol import messages
from broker_queue.protocol.codec import RawJson
from broker_queue.protocol.fields import DEFAULT_PRIORITY


@dataclass(frozen=True, kw_only=True)
class Error:
    """How an attempt failed, or why a job was canceled.

    Attributes:
        code: for programs.
        message: for people.
        raw_details: JSON text of what the worker said besides; None if it said nothing.
    """

    code: str
    message: str
    raw_details: RawJson | None = field(default=None, repr=False)

    @classmethod
    def from_message(cls, message: messages.Error) -> Error:
        """Return the error that a message of the wire holds."""
        details = _raw_or_none(message.details)
        return cls(code=message.code, message=message.message, raw_details=details)

    @cached_property
    def details(self) -> Any:
        """What the worker said besides, parsed; None if it said nothing."""
        return None if self.raw_details is None else json.loads(self.raw_details)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a running job last said of itself.

    Attributes:
        fraction: 0 to 1.
        message: for people.
        raw_data: JSON text of its data; None if there are none.
    """

    fraction: float | None = None
    message: str | None = None
    raw_data: RawJson | None = field(default=None, repr=False)

    @classmethod
    def from_message(cls, message: messages.Progress) -> Progress:
        """Return the progress that a message of the wire holds."""
        data = _raw_or_none(message.data)
        return cls(fraction=message.fraction, message=message.message, raw_data=data)

    @cached_property
    def data(self) -> Any:
        """Its data, parsed; None if there are none."""
        return None if self.raw_data is None else json.loads(self.raw_data)


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """Everything that is known of a job, as it was when the scheduler answered.

    Times are in UTC and None as long as they have not come. A final status never changes again.

    Attributes:
        queued: when it was enqueued.
        ready: when its last dependency ended; it waits for a worker from then on.
        started: when its worker began the current attempt.
        finished: when it ended, in whatever way.
        available_at: end of its delay, or of the back-off before its next attempt.
        attempt: number of the current attempt from 1; 0 before the first.
        timeout: longest run of one attempt, in seconds.
        error: how its last attempt failed, or why it was canceled.
        raw_result: JSON text of the result, byte for byte as its worker sent it. None if it has
            not finished, or if the result was not asked for.
        raw_args: JSON text of the args, if they were asked for.
        dependencies: what it depends on, in the order given; empty in lists that leave it out.
        dependency_count: how many there are, also where `dependencies` was left out.
        skipped_because: the dependency whose end made it impossible to run.
        retry_of: the job that it is a copy of.
        retried_as: its copy.
    """

    id: JobId
    state: State
    queued: datetime
    type: str | None = None
    name: str | None = None
    channel: str = ""
    graph: GraphId | None = None
    ready: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    available_at: datetime | None = None
    attempt: int = 0
    max_attempts: int = 1
    priority: int = DEFAULT_PRIORITY
    timeout: float | None = None
    worker: str | None = None
    progress: Progress | None = None
    error: Error | None = None
    raw_result: RawJson | None = field(default=None, repr=False)
    raw_args: RawJson | None = field(default=None, repr=False)
    dependencies: list[messages.DependencyStatus] = field(default_factory=list)
    dependency_count: int = 0
    skipped_because: JobId | None = None
    retry_of: JobId | None = None
    retried_as: JobId | None = None

    @classmethod
    def from_message(cls, message: messages.JobStatus) -> JobStatus:
        """Return the status that a message of the wire holds."""
        listed = message.dependencies
        return cls(
            id=JobId(message.id),
            state=message.state,
            queued=from_milliseconds(message.queued),
            type=message.type,
            name=message.name,
            channel=message.channel,
            graph=None if message.graph is None else GraphId(message.graph),
            ready=from_milliseconds_or_none(message.ready),
            started=from_milliseconds_or_none(message.started),
            finished=from_milliseconds_or_none(message.finished),
            available_at=from_milliseconds_or_none(message.available_at),
            attempt=message.attempt,
            max_attempts=message.max_attempts,
            priority=message.priority,
            timeout=message.timeout,
            worker=message.worker,
            progress=_progress(message.progress),
            error=_error(message.error),
            raw_result=_raw_or_none(message.result),
            raw_args=_raw_or_none(message.args),
            dependencies=[] if isinstance(listed, UnsetType) else listed,
            dependency_count=message.dependency_count,
            skipped_because=_id_or_none(message.skipped_because),
            retry_of=_id_or_none(message.retry_of),
            retried_as=_id_or_none(message.retried_as),
        )

    @property
    def is_final(self) -> bool:
        """Whether the state and the result can never change again."""
        return self.state.is_final

    @property
    def canceled(self) -> bool:
        """Whether somebody canceled it before it ended."""
        return self.state is State.CANCELED

    @cached_property
    def result(self) -> Any:
        """The result, parsed; None if it has not finished."""
        return None if self.raw_result is None else json.loads(self.raw_result)

    @cached_property
    def args(self) -> Any:
        """The args, parsed; None if they were not asked for."""
        return None if self.raw_args is None else json.loads(self.raw_args)

    @property
    def reason(self) -> str:
        """Why it has no result, in a few words; empty if it finished."""
        if self.state is State.FINISHED:
            return ""
        if self.state is State.SKIPPED:
            return f"because of job {self.skipped_because}"
        if self.error is None:
            return "without a reason given" if self.is_final else "it has not ended"
        if self.state is State.CANCELED:
            return self.error.message
        return f"{self.error.message} ({self.error.code})"

    def raise_unless_finished(self) -> None:
        """Return if it finished.

        Raises:
            JobNotFinished: it ended in another way, or has not ended.
        """
        if self.state is not State.FINISHED:
            raise JobNotFinished(self.id, self.state, self.reason)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for `msgspec.json.encode`.

        Times are texts (ISO 8601, UTC); ``result`` and ``args`` go out byte for byte as they came.
        """
        found: dict[str, Any] = plain(self)
        return found | {"canceled": self.canceled}

    def to_json(self) -> bytes:
        """Return `to_dict` as JSON text."""
        return msgspec.json.encode(self.to_dict())


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """A job changed its state, or told of its progress.

    Attributes:
        at: when, in UTC.
        attempt: number of the current attempt from 1; 0 before the first.
        error: how the attempt failed, or why it was canceled.
        progress: what it last said, if it is running.
    """

    job: JobId
    state: State
    at: datetime
    type: str | None = None
    name: str | None = None
    channel: str = ""
    graph: GraphId | None = None
    attempt: int = 0
    error: Error | None = None
    progress: Progress | None = None

    @classmethod
    def from_message(cls, message: messages.JobEvent) -> JobEvent:
        """Return the event that a message of the wire holds."""
        return cls(
            job=JobId(message.job),
            state=message.state,
            at=from_milliseconds(message.at),
            type=message.type,
            name=message.name,
            channel=message.channel,
            graph=None if message.graph is None else GraphId(message.graph),
            attempt=message.attempt,
            error=_error(message.error),
            progress=_progress(message.progress),
        )


StatusList: TypeAlias = list[JobStatus]
"""For classes whose method ``list`` hides the built-in one from annotations."""


@dataclass(frozen=True)
class JobPage:
    """One page of a list, newest first.

    Attributes:
        next: give it as `before` to get the next page; None on the last one.
    """

    jobs: StatusList
    next: int | None = None


def from_page(page: messages.StatusPage) -> StatusList:
    """Return the statuses of one answer."""
    return [JobStatus.from_message(message) for message in page.jobs]


def _error(message: messages.Error | None) -> Error | None:
    return None if message is None else Error.from_message(message)


def _progress(message: messages.Progress | None) -> Progress | None:
    return None if message is None else Progress.from_message(message)


def _raw_or_none(text: Raw | UnsetType) -> RawJson | None:
    return None if isinstance(text, UnsetType) else RawJson(text)


def _id_or_none(text: str | None) -> JobId | None:
    return None if text is None else JobId(text)
