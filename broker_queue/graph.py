"""Graphs of jobs as a client builds them. No I/O: a graph becomes one submit message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any, TypeAlias, TypedDict, Unpack

from msgspec import Raw, structs
from uuid_utils import uuid7

from broker_queue.errors import Invalid
from broker_queue.job import (
    Condition,
    GraphId,
    GraphLike,
    JobId,
    JobLike,
    parse_graph_id,
    parse_job_id,
)
from broker_queue.moments import to_milliseconds, to_seconds
from broker_queue.protocol import messages
from broker_queue.protocol.codec import to_json, too_deep
from broker_queue.protocol.fields import DEFAULT_PRIORITY


def new_job_id() -> JobId:
    """Return a new id (UUIDv7, RFC 9562): unique, and sorted by time of making."""
    return JobId(str(uuid7()))


@dataclass(frozen=True, slots=True)
class ResultReference:
    """Stands in args for a part of another job's result; the scheduler puts the value in place.

    Index it to go deeper: ``build.result["files"][0]``.
    """

    job: JobId
    path: tuple[str | int, ...] = ()

    def __getitem__(self, key: str | int) -> ResultReference:
        return ResultReference(self.job, (*self.path, key))

    @property
    def pointer(self) -> str:
        """The path as a JSON pointer (RFC 6901)."""
        return json_pointer(self.path)


@dataclass(frozen=True, slots=True)
class Edge:
    """A dependency with its condition."""

    job: JobId
    condition: Condition = Condition.SUCCESS


class _Edges:
    """What a handle offers to those that depend on its job."""

    id: JobId

    @property
    def finished(self) -> Edge:
        """Run after it finished (the default when a handle itself is given)."""
        return Edge(self.id, Condition.SUCCESS)

    @property
    def failed(self) -> Edge:
        """Run only if it failed."""
        return Edge(self.id, Condition.FAILURE)

    @property
    def ended(self) -> Edge:
        """Run whatever became of it."""
        return Edge(self.id, Condition.ANY)

    @property
    def result(self) -> ResultReference:
        """Its result, to be put into another job's args."""
        return ResultReference(self.id)


@dataclass(frozen=True, slots=True)
class JobHandle(_Edges):
    """A job of a graph, before or after it was submitted."""

    id: JobId
    type: str | None
    name: str | None = None

    def __str__(self) -> str:
        return self.id


Dependable: TypeAlias = Edge | JobLike
"""What may be named as a dependency: an edge with its condition, a handle, a job's id or status."""

BackoffOption: TypeAlias = messages.Backoff | timedelta | None


class JobOptions(TypedDict, total=False):
    """Options of a job, as keywords of every call that makes one; `new_job` says what they mean."""

    id: str | None
    name: str | None
    channel: str
    priority: int
    max_attempts: int
    backoff: BackoffOption
    timeout: timedelta | float | None
    delay: timedelta | float | None
    available_at: datetime | None
    traceparent: str | None


@dataclass(slots=True)
class Graph:
    """Jobs and the edges between them, submitted as one.

    Args:
        name: for people, shown wherever the graph is.
        id: made when left out; submitting the same graph twice changes nothing.
    """

    name: str | None = None
    id: GraphId = field(default_factory=lambda: GraphId(str(uuid7())))
    jobs: list[messages.NewJob] = field(default_factory=list)
    extensions: list[messages.Extension] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.jobs)

    def add(
        self,
        type: str,  # noqa: A002  # the protocol's word
        args: Any = None,
        dependencies: Iterable[Dependable] = (),
        **options: Unpack[JobOptions],
    ) -> JobHandle:
        """Add a job and return its handle.

        `args` is anything that serialises to JSON, pydantic models included; a `ResultReference`
        anywhere inside (``{"source": fetch.result["path"]}``) is a dependency too.

        Args:
            type: names the queue and so the workers.
            args: the job's arguments.
            dependencies: handles (run after they finished), ``handle.failed``, ``handle.ended``
                or ids of jobs that exist already.
            options: see `new_job`.

        Raises:
            Invalid: the args have no JSON form, or an option is out of bounds.
            TypeError: there is no such option.
        """
        job = new_job(type, args, dependencies=dependencies, **options)
        self.jobs.append(job)
        return JobHandle(JobId(job.id), type, job.name)

    def milestone(
        self, dependencies: Iterable[Dependable], *, name: str | None = None
    ) -> JobHandle:
        """Add a job that finishes as soon as its dependencies do; no worker is needed.

        Put one between two layers of a thousand jobs: two thousand edges in place of a million.
        """
        job = new_job(None, None, dependencies=dependencies, name=name)
        self.jobs.append(job)
        return JobHandle(JobId(job.id), None, name)

    def extend(
        self,
        job: JobLike,
        dependencies: Iterable[Dependable] = (),
        references: Mapping[str, ResultReference] | None = None,
    ) -> None:
        """Add dependencies to a job that exists already and has not been handed out.

        Args:
            job: the job that will wait for more.
            dependencies: as in `add`.
            references: JSON pointer into its args → the result to put there.
        """
        found = [
            messages.Reference(at=at, job=reference.job, pointer=reference.pointer)
            for at, reference in (references or {}).items()
        ]
        self.extensions.append(
            messages.Extension(
                job=job_id_of(job), dependencies=_dependencies(dependencies), references=found
            )
        )

    def to_message(self) -> messages.Submit:
        """Return the submit message, with jobs of this graph named by position to keep it small."""
        positions: dict[int | str, int] = {job.id: index for index, job in enumerate(self.jobs)}
        return messages.Submit(
            jobs=[_by_position(job, positions) for job in self.jobs],
            extend=[_by_position(extension, positions) for extension in self.extensions],
            graph=messages.NewGraph(id=self.id, name=self.name),
        )


def new_job(
    type: str | None,  # noqa: A002  # the protocol's word
    args: Any = None,
    dependencies: Iterable[Dependable] = (),
    *,
    id: str | None = None,  # noqa: A002  # the protocol's word
    name: str | None = None,
    channel: str = "",
    priority: int = DEFAULT_PRIORITY,
    max_attempts: int = 1,
    backoff: BackoffOption = None,
    timeout: timedelta | float | None = None,
    delay: timedelta | float | None = None,
    available_at: datetime | None = None,
    traceparent: str | None = None,
) -> messages.NewJob:
    """Return a job as the wire has it.

    Args:
        type: names the queue; None makes a milestone.
        args: anything that serialises to JSON.
        dependencies: handles, edges or ids.
        id: a UUID; made when left out. Enqueuing the same id twice changes nothing.
        name: for people.
        channel: keeps tenants apart: a worker consumes from the channels that it names.
        priority: 0 (last) to 9 (first).
        max_attempts: how often it may run in all.
        backoff: wait before the next attempt; a timedelta is its first, doubled each time.
        timeout: longest run of one attempt, in seconds or as a timedelta.
        delay: do not run before this long after the enqueue, in seconds or as a timedelta.
        available_at: do not run before this moment (with a time zone).
        traceparent: the trace that it belongs to (W3C Trace Context); its worker gets it as it is.

    Raises:
        Invalid: a value that the protocol does not allow.
    """
    found: list[messages.Reference] = []
    try:
        plain = _take_references(args, (), found)
    except RecursionError:
        raise too_deep("args") from None
    job = messages.NewJob(
        id=job_id_of(id) if id is not None else new_job_id(),
        type=type,
        args=Raw(to_json(plain)),
        dependencies=_dependencies(dependencies),
        references=found,
        name=name,
        channel=channel,
        priority=priority,
        max_attempts=max_attempts,
        backoff=_backoff(backoff),
        timeout=to_seconds(timeout),
        delay=to_seconds(delay),
        available_at=_milliseconds(available_at),
        traceparent=traceparent,
    )
    return job


def job_id_of(job: Dependable) -> JobId:
    """Return the id of what stands for a job.

    Raises:
        TypeError: it stands for a graph, or for many jobs.
        Invalid: it has none.
    """
    if isinstance(job, JobHandle):
        return job.id
    if isinstance(job, Edge):
        return job.job
    _refuse_several(job)
    try:
        return parse_job_id(str(getattr(job, "id", job)))
    except ValueError as error:
        raise Invalid(str(error), {"field": "id"}) from None


def _refuse_several(job: object) -> None:
    kind = type(job).__name__
    # A `GraphStatus`, which is above this module, has counts.
    if isinstance(job, Graph | messages.Submitted) or hasattr(job, "counts"):
        raise TypeError(
            f"job: a {kind} was given where a job is wanted; give a job of it (what `add` "
            "returned), or use what takes a graph: watch(graph=…), list(graph=…), wait(GRAPH), "
            "cancel_graph, retry_graph"
        )
    if isinstance(job, Iterable) and not isinstance(job, str) and not hasattr(job, "id"):
        raise TypeError(
            f"job: a {kind} was given where one job is wanted; give them one by one, as in "
            "watch(*jobs), or use what takes many: job_statuses(jobs), wait(jobs)"
        )


def graph_id_of(graph: GraphLike) -> GraphId:
    """Return the id of what stands for a graph.

    Raises:
        TypeError: it stands for a job.
        Invalid: it has none.
    """
    if isinstance(graph, JobHandle | Edge):
        raise TypeError("graph: a job was given where a graph, or its id, is wanted")
    try:
        return parse_graph_id(str(getattr(graph, "id", graph)))
    except ValueError as error:
        raise Invalid(str(error), {"field": "graph"}) from None


def json_pointer(path: Sequence[str | int]) -> str:
    """Return a path as a JSON pointer (RFC 6901, section 3)."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)


def _take_references(
    value: Any, path: tuple[str | int, ...], found: list[messages.Reference]
) -> Any:
    """Return `value` with null in place of every reference, and note where each stood."""
    if isinstance(value, ResultReference):
        found.append(
            messages.Reference(at=json_pointer(path), job=value.job, pointer=value.pointer)
        )
        return None
    if isinstance(value, dict):  # maps, since comprehensions would halve the depth that is possible
        paths = ((*path, key) for key in value)
        return dict(
            zip(value, map(_take_references, value.values(), paths, repeat(found)), strict=True)
        )
    if isinstance(value, list | tuple):
        paths = ((*path, index) for index in range(len(value)))
        return list(map(_take_references, value, paths, repeat(found)))
    return value


def _dependencies(
    dependencies: Iterable[Dependable],
) -> list[int | str | messages.Dependency]:
    if isinstance(dependencies, str | Edge) or hasattr(dependencies, "id"):
        raise Invalid(
            "dependencies: expected a list of jobs, not one job", {"field": "dependencies"}
        )
    return [_dependency(dependency) for dependency in dependencies]


def _dependency(dependency: Dependable) -> str | messages.Dependency:
    if isinstance(dependency, Edge) and dependency.condition is not Condition.SUCCESS:
        return messages.Dependency(job=dependency.job, condition=dependency.condition)
    return job_id_of(dependency)


def _backoff(backoff: BackoffOption) -> messages.Backoff | None:
    if isinstance(backoff, timedelta):
        return messages.Backoff(initial=backoff.total_seconds())
    return backoff


def _milliseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise Invalid(
            "available_at has no time zone; use datetime.now(UTC) + …", {"field": "available_at"}
        )
    return to_milliseconds(moment)


def _by_position(item: Any, positions: Mapping[int | str, int]) -> Any:
    """Return a copy of a job or extension that names the jobs of `positions` by position."""
    dependencies = [
        structs.replace(target, job=positions.get(target.job, target.job))
        if isinstance(target, messages.Dependency)
        else positions.get(target, target)
        for target in item.dependencies
    ]
    references = [
        structs.replace(reference, job=positions.get(reference.job, reference.job))
        for reference in item.references
    ]
    changes: dict[str, Any] = {"dependencies": dependencies, "references": references}
    if isinstance(item, messages.Extension):
        changes["job"] = positions.get(item.job, item.job)
    return structs.replace(item, **changes)
