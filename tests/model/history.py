"""Histories: lists of small commands that any engine can play, drawn by hypothesis.

A command names jobs by a number that is taken modulo the jobs there are, so that every list of
commands means something and shrinks well. Commands that are joined come in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from hypothesis import strategies as st

from broker_queue.job import Condition, State

CONDITIONS = tuple(Condition)

WINDOW = 2
"""Jobs of a queue that are with the broker at most: few, so that many stand in line."""

LEASE = 3_000
"""Milliseconds of a lease."""

MAX_LOSSES = 2

GRAPHS = 3
QUEUES = 4
WORKERS = ("first", "second")


class Spec(NamedTuple):
    """A job to be submitted. Parents are jobs by number; ``~index`` is one that comes with it."""

    parents: tuple[tuple[int, Condition], ...]
    max_attempts: int
    queue: int | None
    """None: a milestone."""
    priority: int
    delay: int
    timeout: int | None


class Link(NamedTuple):
    """A dependency added to a job that exists; `parent` may be ``~index`` of one that comes along."""

    job: int
    parent: int
    condition: Condition


class Report(NamedTuple):
    """What a worker, or the broker, says of a hand-over; a result may bring jobs with it."""

    job: int
    kind: str
    handover: int
    worker: str
    delay: int | None = None
    specs: tuple[Spec, ...] = ()
    links: tuple[Link, ...] = ()


class Submit(NamedTuple):
    """New jobs and new edges; `repeat` are jobs that were submitted before."""

    specs: tuple[Spec, ...]
    links: tuple[Link, ...] = ()
    graph: int | None = None
    repeat: tuple[int, ...] = ()


class Cancel(NamedTuple):
    jobs: tuple[int, ...]
    graph: int | None = None
    dependents: bool = False


class Retry(NamedTuple):
    jobs: tuple[int, ...]
    graph: int | None = None


Request = Submit | Cancel | Retry


class Step(NamedTuple):
    """One transaction: time passes, then reports, requests and what is due, in this order."""

    milliseconds: int
    reports: tuple[Report, ...]
    requests: tuple[Request, ...]


class Seen(NamedTuple):
    """What every engine must agree on, for each job after each step."""

    state: State
    attempt: int
    handover: int
    cause: int | None
    in_window: bool
    """Its message is, or will be, in its queue."""
    due_at: int | None


class Engine(Protocol):
    """Something that plays histories; jobs are numbered in the order of their submit."""

    def play(self, step: Step) -> list[object]:
        """Play a step; return an answer for each report, then for each request.

        A report is answered with its verdict, a submit with whether it was accepted, a
        cancel with its counts, a retry with pairs of job and copy, or None if refused.
        """

    def seen(self) -> list[Seen]: ...


class Command(NamedTuple):
    """Part of a step; what `a`, `b`, `c` mean depends on the kind."""

    kind: str
    a: int
    b: int
    c: int
    is_joined: bool
    """It comes in one transaction with the command before it."""


KINDS = (
    *["advance"] * 4,  # first: what is made small becomes a step in which nothing happens
    *["submit"] * 7,
    *["finished"] * 12,
    *["failed"] * 3,
    *["failed, with delay"] * 3,
    *["started"] * 6,
    *["lease"] * 4,
    *["lost"] * 2,
    *["released"] * 2,
    *["stale"] * 2,
    *["grown"] * 3,
    *["link"] * 4,
    "cancel", "final failure", "dead", "progress", "retry", "retry graph", "cancel dependents",
    "cancel graph", "repeat",
)  # fmt: skip

REPORTS = (
    "finished", "failed", "failed, with delay", "started", "lease", "lost", "released", "stale", "grown",
    "final failure", "dead", "progress",
)  # fmt: skip


RETRIES = ("retry", "retry graph")


def _command(drawn: bytes) -> Command:
    """Read eight bytes as a command: hypothesis draws them evenly, unlike large numbers."""
    number = int.from_bytes(drawn, "big")
    a, b, c = number & 0xFFFF, number >> 16 & 0xFFFF, number >> 32 & 0xFFFF
    kind, joined = number >> 48 & 0xFF, number >> 56
    return Command(KINDS[kind % len(KINDS)], a, b, c, is_joined=joined % 4 != 0)


PIECE = 8
"""Commands drawn at a time: each draw costs as much as playing some commands."""


def _piece(drawn: bytes) -> list[Command]:
    return [_command(drawn[start : start + 8]) for start in range(0, len(drawn), 8)]


pieces = st.binary(min_size=8 * PIECE, max_size=8 * PIECE).map(_piece)


def histories(least: int, most: int) -> st.SearchStrategy[list[Command]]:
    """Return a strategy of histories of about this many commands."""
    drawn = st.lists(pieces, min_size=least // PIECE, max_size=most // PIECE)
    return drawn.map(lambda found: [command for piece in found for command in piece])


def in_steps(history: list[Command]) -> Iterator[list[Command]]:
    """Yield the commands of each transaction.

    A retry is alone: what it copies depends on which of several broken edges skipped a job, and
    that is known (any of them is right) after the transaction only.
    """
    step: list[Command] = []
    for command in history:
        is_alone = any(it.kind in RETRIES for it in (command, *step[:1]))
        if step and (is_alone or not command.is_joined):
            yield step
            step = []
        step.append(command)
    yield step


def resolve(commands: list[Command], seen: list[Seen]) -> Step:
    """Return what these commands mean to jobs that are as they were `seen`."""
    jobs = _Choice(seen)
    milliseconds, reports, requests = 0, [], []
    for command in commands:
        if command.kind == "advance":
            milliseconds += command.a % 12_000
        elif command.kind in REPORTS and not jobs.has_held:
            milliseconds += 1_000  # nobody can report anything: time passes
        elif command.kind in REPORTS:
            reports.append(_report(command, jobs))
        elif command.kind == "submit" or seen:
            requests.append(_request(command, jobs))
    return Step(milliseconds, tuple(reports), tuple(requests))


class _Choice:
    """Picks jobs: mostly those that can still do something."""

    def __init__(self, seen: list[Seen]) -> None:
        self.seen = seen
        self.every = range(len(seen))
        self._held = [n for n in self.every if _is_held(seen[n])]
        self.has_held = bool(self._held)
        self.reported: list[int] = []
        self._not_held = [n for n in self.every if not seen[n].state.is_final]
        self._not_held = [n for n in self._not_held if not _is_held(seen[n])]
        self._retriable = [n for n in self.every if seen[n].state in (State.FAILED, State.CANCELED)]

    def held(self, number: int, mostly: int) -> int:
        """Return a job that a worker may have; mostly another one each time."""
        job = self._pick(number, self._held if mostly % 16 else ())
        self.reported.append(job)
        if job in self._held and len(self._held) > 1 and mostly % 4:
            self._held.remove(job)
        return job

    def extendable(self, number: int, mostly: int) -> int:
        return self._pick(number, self._not_held if mostly % 8 else ())

    def retriable(self, number: int, mostly: int) -> int:
        return self._pick(number, self._retriable if mostly % 8 else ())

    def _pick(self, number: int, candidates: list[int] | tuple[()]) -> int:
        return (candidates or self.every)[number % len(candidates or self.every)]


def _is_held(job: Seen) -> bool:
    return job.in_window or job.state is State.RUNNING


def _report(command: Command, jobs: _Choice) -> Report:
    kind, a, b, c, _ = command
    job = jobs.held(a, b)
    seen = jobs.seen[job]
    in_line = seen.state is State.QUEUED and not seen.in_window  # nobody has its token yet
    handover = seen.handover - (in_line or kind == "stale")
    report = Report(job, "finished" if kind == "stale" else kind, handover, WORKERS[c % 2])
    if kind == "failed, with delay":
        return report._replace(kind="failed", delay=(0, 500, 4_000)[b % 3])
    if kind == "grown":
        count = a % 3
        return report._replace(
            kind="finished",
            specs=_specs(jobs, count, a, b, c),
            links=_links(command, jobs, count) if c % 4 or not count else (),
        )
    return report


def _request(command: Command, jobs: _Choice) -> Request:
    kind, a, b, c, _ = command
    count = len(jobs.seen)
    if kind == "submit":
        links = _links(command, jobs, 1) if count and c % 8 == 0 else ()
        graph = b % (GRAPHS + 1)
        return Submit(_specs(jobs, 1 + a % 6, a, b, c), links, None if graph == GRAPHS else graph)
    if kind == "repeat":
        return _repeat(command, jobs)
    if kind == "link":
        return Submit((), _links(command, jobs, 0))
    if kind == "retry":
        return Retry((jobs.retriable(a, b),))
    if kind == "retry graph":
        return Retry((), a % GRAPHS)
    if kind == "cancel graph":
        return Cancel((), a % GRAPHS, dependents=b % 2 == 0)
    return Cancel((a % count, b % count)[: 1 + c % 2], dependents=kind == "cancel dependents")


def _repeat(command: Command, jobs: _Choice) -> Submit:
    """Return a submit of a job that was submitted before, and of new ones that depend on it."""
    _, a, b, c, _ = command
    count = len(jobs.seen)
    again = b % count
    specs = []
    for spec in _specs(jobs, a % 3, a, b, c):
        parents = dict(spec.parents) | {again: CONDITIONS[b % 3]}
        specs.append(spec._replace(parents=tuple(parents.items())))
    links = _links(command, jobs, len(specs)) if c % 4 else ()
    links = tuple(link for link in links if link.job != again)
    if c % 4 == 1:
        links = tuple(link._replace(parent=again) for link in links[:1])
    return Submit(tuple(specs), links, repeat=(again,))


def _links(command: Command, jobs: _Choice, new: int) -> tuple[Link, ...]:
    """Return one or two links; with `new` jobs in the same request, mostly to those.

    Now and then the second leads back, by a way that only the request itself knows.
    """
    _, a, b, c, _ = command
    links = {}
    first = (0, 0)
    for k in range(1 + c % 2):
        job = jobs.extendable(a + k * 7, b)
        parent = ~((b + k) % new) if new and b % 8 else (b * 31 + k * 5) % len(jobs.seen)
        if k and a % 4 == 0 and first[1] >= 0:
            parent, job = first
        first = job, parent
        links[job, parent] = CONDITIONS[_skewed(c + k)]
    return tuple(Link(job, parent, condition) for (job, parent), condition in links.items())


def _specs(jobs: _Choice, count: int, a: int, b: int, c: int) -> tuple[Spec, ...]:
    specs = []
    for index in range(count):
        mix = a * 31 + b * 17 + index * 101
        kind = (mix + c) % 77
        specs.append(
            Spec(
                parents=_parents(jobs, index, (0, 1, 1, 2, 3)[(b + index) % 5], mix, c),
                max_attempts=1 + (c + index) % 4,
                queue=None if kind % 7 == 0 else kind % QUEUES,
                priority=(5, 5, 0, 9)[mix // 4 % 4],
                delay=1_000 if kind % 5 == 1 else 0,
                timeout=500 if kind % 3 == 0 else None,
            )
        )
    return tuple(specs)


def _parents(
    jobs: _Choice, index: int, wanted: int, mix: int, c: int
) -> tuple[tuple[int, Condition], ...]:
    """Return what the job with this index depends on; half of them on one just reported."""
    existing = len(jobs.seen)
    parents = {}
    for k in range(min(existing + index, wanted)):
        parent = (mix * (7 + k) + c) % (existing + index)
        if jobs.reported and not k and mix % 2:
            parent = jobs.reported[mix % len(jobs.reported)]
        parents[parent if parent < existing else ~(parent - existing)] = CONDITIONS[
            _skewed(mix + k)
        ]
    return tuple(parents.items())


def _skewed(number: int) -> int:
    """Mostly success, as in life."""
    return (0, 0, 0, 1, 2)[number % 5]
