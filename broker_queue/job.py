"""The vocabulary of jobs: ids, states, conditions. Everything else speaks in these words."""

from __future__ import annotations

from enum import StrEnum
from typing import NewType, Protocol, TypeAlias
from uuid import UUID

JobId = NewType("JobId", str)
"""A job's id: a UUID in its canonical form (lower case, with hyphens). Clients make them."""

GraphId = NewType("GraphId", str)
"""The id of a graph: the jobs of one submit and what they enqueued while running."""


class HasId(Protocol):
    """Stands for a job or a graph by its id: a handle, a status, a graph, a job at hand."""

    @property
    def id(self) -> str: ...


JobLike: TypeAlias = str | HasId
"""A job's id, or anything that has it as its ``id``."""

GraphLike: TypeAlias = str | HasId
"""A graph's id, or anything that has it as its ``id``."""


class State(StrEnum):
    """Where a job stands. Each member says who moves the job on."""

    WAITING = "waiting"
    """Some dependency has not ended. The end of its last open dependency moves it on."""

    SCHEDULED = "scheduled"
    """Waits for a time: a delay, or the back-off before a retry. The scheduler's timer moves it."""

    QUEUED = "queued"
    """Ready: in the queue of its type, or in line for that queue's window. A worker moves it on."""

    RUNNING = "running"
    """A worker said that it started. That worker's report, or its time limit, moves it on."""

    FINISHED = "finished"
    """Done, with a result. Final."""

    FAILED = "failed"
    """Its last attempt failed; the error says how. Final."""

    SKIPPED = "skipped"
    """A dependency ended in a way that its edge does not accept. Final."""

    CANCELED = "canceled"
    """Somebody canceled it before it ended. Final."""

    @property
    def is_final(self) -> bool:
        """Whether the state and the result can never change again."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({State.FINISHED, State.FAILED, State.SKIPPED, State.CANCELED})


class Verdict(StrEnum):
    """What a report on a job is answered; all but the first say that it changed nothing."""

    ACCEPTED = "accepted"
    """It was folded into the job."""

    STALE = "stale"
    """Another hand-over is the current one, or the job has ended."""

    CANCELED = "canceled"
    """The job was canceled: what its worker still reports is discarded."""

    NOT_EXIST = "not_exist"
    """There is no such job: it was forgotten."""


class FailureCode(StrEnum):
    """Codes of errors that the scheduler and the worker write themselves into a job's status.

    A job function's own are the code of its `JobError`, or the name of its exception.
    """

    FAILED = "failed"
    """its worker, or a `JobError`, gave no other code"""

    INVALID_ARGS = "invalid_args"
    """the args are not what the function takes"""

    INVALID_RESULT = "invalid_result"
    """the result is not what the function promises, is too large, or has no JSON form"""

    TIMEOUT = "timeout"
    """the attempt ran longer than its time limit"""

    INVALID_REPORT = "invalid_report"
    """the worker's report does not keep the protocol, or its result is over the limit"""

    INVALID_JOBS = "invalid_jobs"
    """the jobs that it enqueued with its result were refused"""

    INVALID_REFERENCE = "invalid_reference"
    """a result reference leads nowhere, or the args with all results filled in are too large"""

    UNPUBLISHABLE = "unpublishable"
    """the scheduler could not make a message of it; its log says why"""

    WORKER_DIED = "worker_died"
    """too many of its workers died or fell silent, or gave its message back to the broker"""

    DEAD_LETTER = "dead_letter"
    """a worker rejected its message, or a policy of the broker threw it away"""

    CANCELED = "canceled"
    """of a canceled job, with the reason that was given"""


class Condition(StrEnum):
    """What a dependency must come to before the dependent job may run."""

    SUCCESS = "success"
    """It finished."""

    FAILURE = "failure"
    """It failed: not skipped, not canceled."""

    ANY = "any"
    """It ended, in whatever way."""


def parse_job_id(text: str) -> JobId:
    """Return `text` as a job id in canonical form.

    Raises:
        ValueError: it is no UUID.
    """
    return JobId(_canonical_uuid(text, "job"))


def parse_graph_id(text: str) -> GraphId:
    """Return `text` as a graph id in canonical form.

    Raises:
        ValueError: it is no UUID.
    """
    return GraphId(_canonical_uuid(text, "graph"))


def _canonical_uuid(text: str, kind: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError(f"{text!r} is no {kind} id: expected a UUID") from None
