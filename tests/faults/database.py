"""The scheduler's database as it looks from outside; nothing is written here."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from broker_queue.job import Condition, GraphId, JobId, State
from tests.support.sanity import VIOLATIONS


class Outcome(NamedTuple):
    """How a job ended."""

    state: State
    finished_at: int
    attempt: int
    result: bytes | None
    error: bytes | None


class Options(NamedTuple):
    """What a job was given besides its args. `timeout` is milliseconds."""

    type: str | None
    channel: str
    priority: int
    max_attempts: int
    timeout: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job as the database has it at the end. Times are milliseconds since the epoch."""

    id: JobId
    graph: GraphId | None
    options: Options
    state: State
    attempt: int
    handover: int
    dispatch: int
    worker: str | None
    queued_at: int
    finished_at: int | None
    args: dict[str, Any]
    result: Any
    raw_result: bytes | None
    error: dict[str, Any] | None
    edges: dict[JobId, Condition]
    """What it depends on."""
    cause: JobId | None
    """The dependency because of which it was skipped."""
    retry_of: JobId | None
    retried_as: JobId | None

    @property
    def type(self) -> str | None:
        return self.options.type

    @property
    def overruns(self) -> bool:
        """Whether its attempts are to run into its time limit."""
        return "overrun" in self.args

    @property
    def time_limit(self) -> int:
        """Milliseconds; of one that has a limit."""
        return self.options.timeout or 0


_OUTCOMES = """
    SELECT id, state, finished_at, attempt, result, error
    FROM job LEFT JOIN outcome ON job_key = key WHERE finished_at >= ?"""
_COUNT_OPEN = "SELECT count(*) FROM job WHERE finished_at IS NULL"
_OPEN = f"""
    SELECT ({_COUNT_OPEN}),
           (SELECT sum(handed_out) FROM queue),
           (SELECT count(*) FROM job)"""
_JOBS = """
    SELECT job.key, job.id, graph.id, cause.id, original.id, copy.id,
           queue.type, coalesce(channel, ''), job.priority, job.max_attempts, job.timeout,
           job.state, job.attempt, job.handover, job.dispatch, job.worker, job.queued_at,
           job.finished_at, args.text, result, error
    FROM job LEFT JOIN graph ON graph.key = job.graph_key LEFT JOIN queue ON queue.key = job.queue_key
    LEFT JOIN args ON args.job_key = job.key LEFT JOIN outcome ON outcome.job_key = job.key
    LEFT JOIN job AS cause ON cause.key = job.cause_key
    LEFT JOIN job AS original ON original.key = job.retry_of_key
    LEFT JOIN job AS copy ON copy.key = job.retried_as_key"""
_EDGES = """
    SELECT child_key, parent.id, condition
    FROM edge JOIN job AS parent ON parent.key = parent_key ORDER BY child_key, position"""


class Progress(NamedTuple):
    """How far everything is."""

    open: int
    handed_out: int
    jobs: int


class Watching:
    """Looks now and then while everything runs, and remembers how jobs ended.

    Args:
        path: of the database; it exists.
    """

    def __init__(self, path: Path) -> None:
        self._connection = _open(path)
        self._turn = threading.Lock()
        self._since = 0
        self._ends: dict[JobId, Outcome] = {}
        self.changed: list[str] = []
        """Ends that were different later, as sentences."""
        self.progress = Progress(0, 0, 0)

    def look(self) -> None:
        """Look once, at what has ended since the last time."""
        with self._turn:
            self._look(self._since)

    def look_at_all(self) -> None:
        """Look at every job that has ended."""
        with self._turn:
            self._look(0)

    def _look(self, since: int) -> None:
        newest = since
        for identity, state, finished_at, *rest in self._connection.execute(
            _OUTCOMES, (since,)
        ).fetchall():
            self._compare(_id(identity), Outcome(State(state), finished_at, *rest))
            newest = max(newest, finished_at)
        self._since = newest
        found = self._connection.execute(_OPEN).fetchone()
        self.progress = Progress(*(number or 0 for number in found))

    def close(self) -> None:
        self._connection.close()

    def _compare(self, job: JobId, end: Outcome) -> None:
        known = self._ends.setdefault(job, end)
        if known != end:
            self.changed.append(f"job {job}: {known} became {end}")


class Contents(NamedTuple):
    """Everything, at the end."""

    jobs: dict[JobId, StoredJob]
    broken: list[str]
    """What the database contradicts itself in, as sentences."""

    @property
    def counts(self) -> Counter[State]:
        """How many jobs there are in each state."""
        return Counter(job.state for job in self.jobs.values())


def read(path: Path) -> Contents:
    """Return everything that is stored."""
    with closing(_open(path)) as connection:
        edges: dict[int, dict[JobId, Condition]] = {}
        for child, parent, condition in connection.execute(_EDGES):
            edges.setdefault(child, {})[_id(parent)] = Condition(condition)
        jobs = [_job(row, edges.get(row[0], {})) for row in connection.execute(_JOBS)]
        return Contents({job.id: job for job in jobs}, _broken(connection))


def open_jobs(path: Path) -> int:
    """Return how many jobs have not ended."""
    with closing(_open(path)) as connection:
        return int(connection.execute(_COUNT_OPEN).fetchone()[0])


def leader(path: Path) -> int | None:
    """Return the process id of the scheduler that leads, or was the last to lead."""
    with closing(_open(path)) as connection:
        row = connection.execute("SELECT holder FROM leader").fetchone()
        return None if row is None else int(row[0].rpartition(":")[2])


def _broken(connection: sqlite3.Connection) -> list[str]:
    found = []
    for problem, query in VIOLATIONS.items():
        row = connection.execute(query).fetchone()
        if row is not None:
            found.append(f"{problem}: row {row[0]}")
    (problem,) = connection.execute("PRAGMA integrity_check").fetchone()
    return found if problem == "ok" else [*found, f"the file is damaged: {problem}"]


def _job(row: tuple[Any, ...], edges: dict[JobId, Condition]) -> StoredJob:
    identity, graph, cause, original, copy = (
        None if each is None else _id(each) for each in row[1:6]
    )
    state, attempt, handover, dispatch, worker, queued_at, ended, args, result, error = row[11:]
    assert identity is not None
    return StoredJob(
        id=identity,
        graph=None if graph is None else GraphId(graph),
        options=Options(*row[6:11]),
        state=State(state),
        attempt=attempt,
        handover=handover,
        dispatch=dispatch,
        worker=worker,
        queued_at=queued_at,
        finished_at=ended,
        args=json.loads(args) if args else {},
        result=json.loads(result) if result else None,
        raw_result=result,
        error=json.loads(error) if error else None,
        edges=edges,
        cause=cause,
        retry_of=original,
        retried_as=copy,
    )


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)


def _id(identity: bytes) -> JobId:
    return JobId(str(UUID(bytes=identity)))
