"""What a submit says, checked and made definite, before anything of it is stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from broker_queue.errors import Invalid, TooLarge, cycle_error
from broker_queue.job import Condition
from broker_queue.protocol.codec import check_json
from broker_queue.protocol.messages import Dependency, Extension, NewJob, Reference
from scheduler.rules import edges
from scheduler.rules.references import check_places, parse_pointer

Target = int | bytes
"""A job of the same submit by position, or one that exists already by its 16-byte id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a submit, see the settings of the same names; and of one transaction."""

    max_args_bytes: int = 1 << 20
    max_result_bytes: int = 1 << 20
    max_jobs: int = 250_000
    max_dependencies: int = 150_000
    max_edges_told: int = 250
    """Edges that one transaction follows when jobs have ended: some 5 ms."""


@dataclass(slots=True)
class PlannedReference:
    """Where the value goes, whose result it comes from, and which part of it."""

    at: str
    target: Target
    pointer: str


@dataclass(slots=True, kw_only=True)
class PlannedJob:
    """A new job whose edges are definite: each once, in the order given."""

    id: bytes
    spec: NewJob
    dependencies: dict[Target, Condition]
    references: list[PlannedReference]
    digest: bytes


@dataclass(slots=True, kw_only=True)
class PlannedExtension:
    """Dependencies for a job that exists already; all that the submit gives it, in one."""

    id: bytes
    path: str
    """Where the submit first names it, for errors."""
    dependencies: dict[Target, Condition]
    references: list[PlannedReference]


@dataclass(slots=True)
class Plan:
    """A whole submit."""

    jobs: list[PlannedJob] = field(default_factory=list)
    extensions: list[PlannedExtension] = field(default_factory=list)

    @property
    def external(self) -> set[bytes]:
        """Ids of the jobs outside this submit that it names."""
        named = {extension.id for extension in self.extensions}
        dependencies = [job.dependencies for job in self.jobs]
        dependencies += [extension.dependencies for extension in self.extensions]
        for targets in dependencies:
            named.update(target for target in targets if isinstance(target, bytes))
        return named

    def name_by_id(self, known: Collection[bytes]) -> None:
        """Let edges lead to jobs that were submitted before by id, as to all that exist already.

        A repeated job keeps its place among `jobs`, but may have got more dependencies since.
        """
        if not known:
            return
        items: list[PlannedJob | PlannedExtension] = [*self.jobs, *self.extensions]
        for item in items:
            item.dependencies = {
                self._named(target, known): condition
                for target, condition in item.dependencies.items()
            }
            for reference in item.references:
                reference.target = self._named(reference.target, known)

    def _named(self, target: Target, known: Collection[bytes]) -> Target:
        identity = target if isinstance(target, bytes) else self.jobs[target].id
        return identity if identity in known else target


def plan_submit(jobs: Sequence[NewJob], extend: Sequence[Extension], limits: Limits) -> Plan:
    """Return the plan of a submit.

    Raises:
        Invalid: a field contradicts another one; `Cycle` and `TooLarge` are kinds of it.
    """
    if len(jobs) > limits.max_jobs:
        raise too_many("jobs", len(jobs), limits.max_jobs)
    positions: dict[bytes, int] = {}
    for position, job in enumerate(jobs):
        identity = id_bytes(job.id, f"jobs[{position}].id")
        if positions.setdefault(identity, position) != position:
            raise Invalid(
                f"jobs[{position}].id: {job.id} is the id of jobs[{positions[identity]}] too",
                {"field": f"jobs[{position}].id"},
            )
    plan = Plan()
    ids = list(positions)
    for position, job in enumerate(jobs):
        plan.jobs.append(_plan_job(job, position, ids, positions, limits))
    extensions: dict[bytes, PlannedExtension] = {}
    for position, extension in enumerate(extend):
        planned = _plan_extension(extension, position, positions, limits)
        before = extensions.setdefault(planned.id, planned)
        if before is not planned:
            _merge(before, planned)
    plan.extensions.extend(extensions.values())
    _refuse_cycle(plan)
    return plan


def id_bytes(text: str, field_name: str) -> bytes:
    """Return the 16 bytes of a UUID.

    Raises:
        Invalid: it is none.
    """
    digits = text.replace("-", "")
    try:
        identity = bytes.fromhex(digits)
    except ValueError:
        identity = b""
    if len(identity) != 16 or len(digits) != 32:  # spaces between bytes are passed over
        raise Invalid(
            f"{field_name}: {text!r} is no UUID (32 hexadecimal digits and hyphens)",
            {"field": field_name},
        )
    return identity


def id_text(identity: bytes) -> str:
    """Return the canonical text of a 16-byte id."""
    text = identity.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def too_many(field_name: str, size: int, limit: int) -> TooLarge:
    """Return the error for a list that is too long."""
    return TooLarge(
        f"{field_name}: {size} items, the limit is {limit}; split it, or put milestones between",
        {"field": field_name, "size": size, "limit": limit},
    )


def _plan_job(
    job: NewJob, position: int, ids: list[bytes], positions: dict[bytes, int], limits: Limits
) -> PlannedJob:
    path = f"jobs[{position}]"
    _check_options(job, path)
    args = bytes(job.args)
    check_json(args, f"{path}.args", limits.max_args_bytes)
    references = _references(job.references, path, positions, len(positions))
    if references:
        check_places(args, [(r.at, f"{path}.references[{i}].at") for i, r in enumerate(references)])
    dependencies = _dependencies(job.dependencies, references, path, positions, limits)
    return PlannedJob(
        id=ids[position],
        spec=job,
        dependencies=dependencies,
        references=references,
        digest=_digest(job, dependencies, ids),
    )


def _plan_extension(
    extension: Extension, position: int, positions: dict[bytes, int], limits: Limits
) -> PlannedExtension:
    path = f"extend[{position}]"
    target = _target(extension.job, f"{path}.job", positions, len(positions))
    if isinstance(target, int):
        raise Invalid(
            f"{path}.job: is jobs[{target}] of the same submit; give it the dependencies there",
            {"field": f"{path}.job"},
        )
    references = _references(extension.references, path, positions, len(positions))
    dependencies = _dependencies(extension.dependencies, references, path, positions, limits)
    if target in dependencies:
        raise cycle_error([id_text(target), id_text(target)])
    return PlannedExtension(id=target, path=path, dependencies=dependencies, references=references)


def _merge(before: PlannedExtension, more: PlannedExtension) -> None:
    """Add what a second extension of the same job says to the first."""
    for target, condition in more.dependencies.items():
        known = before.dependencies.get(target, condition)
        before.dependencies[target] = edges.combine(known, condition, f"{more.path}.dependencies")
    before.references += more.references


def _check_options(job: NewJob, path: str) -> None:
    if job.type is None and bytes(job.args) != b"null":
        raise Invalid(
            f"{path}.args: a job without a type is a milestone, which takes no args; give it a type",
            {"field": f"{path}.args"},
        )
    if job.delay is not None and job.available_at is not None:
        raise Invalid(
            f"{path}.delay: give either delay or available_at, not both", {"field": f"{path}.delay"}
        )


def _dependencies(
    given: Sequence[int | str | Dependency],
    references: Sequence[PlannedReference],
    path: str,
    positions: dict[bytes, int],
    limits: Limits,
) -> dict[Target, Condition]:
    found: dict[Target, Condition] = {}
    count = len(positions)
    for index, item in enumerate(given):
        job, condition = (
            (item.job, item.condition)
            if isinstance(item, Dependency)
            else (item, Condition.SUCCESS)
        )
        if isinstance(job, int) and job < count:
            target: Target = job
        else:
            target = _target(job, f"{path}.dependencies[{index}]", positions, count)
        if target in found:
            condition = edges.combine(found[target], condition, f"{path}.dependencies[{index}]")
        found[target] = condition
    for index, reference in enumerate(references):
        known = found.setdefault(reference.target, Condition.SUCCESS)
        if known is not Condition.SUCCESS:
            found[reference.target] = edges.combine(
                known, Condition.SUCCESS, f"{path}.references[{index}].job"
            )
    if len(found) > limits.max_dependencies:
        raise too_many(f"{path}.dependencies", len(found), limits.max_dependencies)
    return found


def _references(
    given: Sequence[Reference], path: str, positions: dict[bytes, int], count: int
) -> list[PlannedReference]:
    found = []
    for index, reference in enumerate(given):
        job = reference.job
        if isinstance(job, int) and job < count:
            target: Target = job
        else:
            target = _target(job, f"{path}.references[{index}].job", positions, count)
        if reference.pointer:
            parse_pointer(reference.pointer, f"{path}.references[{index}].pointer")
        found.append(PlannedReference(reference.at, target, reference.pointer))
    return found


def _target(target: int | str, path: str, positions: dict[bytes, int], count: int) -> Target:
    if isinstance(target, int):
        if target >= count:
            raise Invalid(
                f"{path}: position {target} is beyond the {count} jobs of this submit",
                {"field": path},
            )
        return target
    identity = id_bytes(target, path)
    return positions.get(identity, identity)


def _digest(job: NewJob, dependencies: dict[Target, Condition], ids: list[bytes]) -> bytes:
    """Return what tells equal content from other content when an id comes a second time.

    Positions count as the ids they stand for, and the graph is left out: the same job may be
    repeated alone.
    """
    named = [
        ((ids[target] if isinstance(target, int) else target).hex(), condition)
        for target, condition in dependencies.items()
    ]
    places = [
        (
            r.at,
            r.pointer,
            (id_bytes(r.job, "job") if isinstance(r.job, str) else ids[r.job]).hex(),
        )
        for r in job.references
    ]
    content = (
        job.type, job.args, job.name, job.channel, job.priority, job.max_attempts, job.backoff,
        job.timeout, job.delay, job.available_at, named, places,
    )  # fmt: skip
    return blake2b(msgspec.json.encode(content), digest_size=16).digest()


def _refuse_cycle(plan: Plan) -> None:
    within = [
        [target for target in job.dependencies if isinstance(target, int)] for job in plan.jobs
    ]
    cycle = edges.find_cycle(within)
    if cycle is not None:
        raise cycle_error(
            [plan.jobs[position].spec.name or id_text(plan.jobs[position].id) for position in cycle]
        )
