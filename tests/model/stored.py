"""The operations on a real database, put together as the scheduler does, but without a broker."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import msgspec
from sqlalchemy import Engine, select

from broker_queue.graph import new_job_id
from broker_queue.job import State
from broker_queue.protocol import messages
from broker_queue.protocol.messages import Backoff, Dependency, Extension, NewGraph, NewJob
from broker_queue.protocol.reports import ReportAnswer
from scheduler import work
from scheduler.incoming.requests import Request as IncomingRequest
from scheduler.operations.reports import Growth, Incoming
from scheduler.operations.timers import Leases
from scheduler.operations.transaction import Answer, ReplyAddress
from scheduler.rules.lifecycle import Succeed
from scheduler.rules.submission import Limits, id_bytes, id_text
from scheduler.store.dispatch import NO_ROOM, Room
from scheduler.store.tables import job
from scheduler.tokens import Token
from scheduler.work import Done, Work
from tests.model.history import (
    GRAPHS,
    MAX_LOSSES,
    WINDOW,
    Cancel,
    Link,
    Report,
    Request,
    Retry,
    Seen,
    Spec,
    Step,
    Submit,
)
from tests.model.pure import event_of
from tests.support.sanity import sanity_check

BACKOFF = Backoff(initial=1.0, factor=2.0, maximum=300_000_000.0, jitter=0.0)
SOMEBODY = ReplyAddress("amq.rabbitmq.reply-to.x", "1", "2")
PLENTY = Room(1 << 20, 1 << 40)

FEW_EDGES = Limits(max_edges_told=2)
"""Makes every cascade come in parts."""

MANY_EDGES = Limits()
"""What follows in the same transaction can be refused because of what was told before."""


class StoredEngine:
    """Plays histories through the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids: list[str] = []
        self._submitted: dict[str, NewJob] = {}
        self._graphs = [new_job_id() for _ in range(GRAPHS)]
        self._confirmed: list[tuple[int, int]] = []
        self._unfilled: Collection[int] = ()
        self._more = False
        self._now = 0

    def play(self, step: Step) -> list[object]:
        self._now += step.milliseconds
        reports = [self._incoming(report) for report in step.reports]
        requests = [self._message(request) for request in step.requests]
        grows = any(report.growth is not None for report in reports)
        if len(reports) + len(requests) == 1 or not (grows or requests):
            answers = self._play_bit_by_bit(reports, requests)
        elif not grows and all(_only_adds(request) for request in step.requests):
            answers = self._play_bit_by_bit(reports, ()) + self._play_bit_by_bit((), requests)
        else:
            todo = self._work(reports=reports, requests=requests, run_timers=True)
            answers = self._transact(todo, MANY_EDGES).effects.answers
        while self._more:  # as the loop does
            self._transact(self._work(room=NO_ROOM), FEW_EDGES)
        if self._unfilled:
            self._transact(self._work(), FEW_EDGES)
        self._learn_ids()
        asked = [*step.reports, *step.requests]
        return [self._answered(what, answer) for what, answer in zip(asked, answers, strict=True)]

    def _play_bit_by_bit(
        self, reports: Sequence[Incoming], requests: Sequence[IncomingRequest]
    ) -> list[Answer]:
        """Leave dependents to be told later; nothing is handed out before they all were.

        What comes next may find them not told yet.
        """
        todo = self._work(reports=reports, requests=requests, run_timers=True, room=NO_ROOM)
        return self._transact(todo, FEW_EDGES).effects.answers

    def _work(self, **what: Any) -> Work:
        left = {"published": self._confirmed, "fill": self._unfilled, "settle": self._more}
        left["leases"] = Leases(0, MAX_LOSSES)
        return Work(**{"now": self._now, "room": PLENTY, **left, **what})

    def _transact(self, todo: Work, limits: Limits) -> Done:
        with self._engine.begin() as connection:
            done = work.apply(connection, todo, limits, WINDOW)
        handouts = [(item.key, item.handover) for item in done.effects.handouts]
        self._confirmed = [(key, number) for key, number in handouts if key % 2]
        self._more = done.effects.more
        self._unfilled = done.effects.unfilled
        return done

    def seen(self) -> list[Seen]:
        with self._engine.begin() as connection:
            rows = connection.execute(select(job).order_by(job.c.key)).all()
        return [
            Seen(
                State(row.state),
                row.attempt,
                row.handover,
                None if row.cause_key is None else row.cause_key - 1,
                bool(row.dispatch),
                row.due_at,
            )
            for row in rows
        ]

    def check(self) -> None:
        """Check the invariants by query."""
        with self._engine.begin() as connection:
            sanity_check(connection)

    def _learn_ids(self) -> None:
        with self._engine.begin() as connection:
            rows = connection.execute(select(job.c.id).order_by(job.c.key)).scalars()
            self._ids = [id_text(identity) for identity in rows]

    def _incoming(self, report: Report) -> Incoming:
        token = Token(id_bytes(self._ids[report.job], "id"), report.handover, report.job + 1)
        event = event_of(report)
        growth = None
        if report.specs or report.links:
            growth = Growth(self._jobs(report.specs, ()), self._extensions(report.links, ()))
        result = b"1" if isinstance(event, Succeed) else None
        return Incoming(token, event, result=result, growth=growth, reply=SOMEBODY)

    def _message(self, request: Request) -> IncomingRequest:
        message: messages.Message
        match request:
            case Submit():
                operation, message = "submit", self._submit(request)
            case Cancel(jobs, graph, dependents):
                named = [self._ids[number] for number in jobs]
                operation = "cancel"
                message = messages.Cancel(
                    jobs=named, graph=self._graph(graph), dependents=dependents
                )
            case Retry(jobs, graph):
                named = [self._ids[number] for number in jobs]
                operation, message = "retry", messages.Retry(jobs=named, graph=self._graph(graph))
        return IncomingRequest(operation, message, b"", SOMEBODY, cast(Any, None))

    def _graph(self, number: int | None) -> str | None:
        return None if number is None else self._graphs[number]

    def _submit(self, request: Submit) -> messages.Submit:
        before = [self._submitted.get(self._ids[number]) for number in request.repeat]
        repeated = [spec for spec in before if spec is not None]  # not the copies of a retry
        graph = self._graph(request.graph)
        ids = [spec.id for spec in repeated]
        return messages.Submit(
            jobs=repeated + self._jobs(request.specs, ids),
            extend=self._extensions(request.links, ids),
            graph=None if graph is None else NewGraph(id=graph),
        )

    def _jobs(self, specs: Sequence[Spec], repeated: Sequence[str]) -> list[NewJob]:
        """Return new jobs as a client submits them; `repeated` are in the request before them."""
        ids = [new_job_id() for _ in specs]
        jobs = []
        for identity, spec in zip(ids, specs, strict=True):
            new = NewJob(
                id=identity,
                type=None if spec.queue is None else f"t{spec.queue}",
                priority=spec.priority,
                dependencies=[
                    Dependency(job=self._target(parent, repeated), condition=condition)
                    for parent, condition in spec.parents
                ],
                max_attempts=spec.max_attempts,
                backoff=BACKOFF,
                delay=spec.delay / 1000 if spec.delay else None,
                timeout=spec.timeout and spec.timeout / 1000,
            )
            jobs.append(new)
            named = [*repeated, *ids]
            self._submitted[identity] = msgspec.structs.replace(
                new, dependencies=[_by_id(edge, named) for edge in new.dependencies]
            )
        return jobs

    def _target(self, parent: int, repeated: Sequence[str]) -> int | str:
        """Name a job by its position in the request if it is there, else by its id."""
        if parent < 0:
            return len(repeated) + ~parent
        identity = self._ids[parent]
        return repeated.index(identity) if identity in repeated else identity

    def _extensions(self, links: Sequence[Link], repeated: Sequence[str]) -> list[Extension]:
        found = []
        for number, parent, condition in links:
            edge = Dependency(job=self._target(parent, repeated), condition=condition)
            found.append(Extension(job=self._ids[number], dependencies=[edge]))
        return found

    def _answered(self, asked: Report | Request, answer: Answer) -> object:
        match answer.body:
            case ReportAnswer():
                return answer.type
            case messages.Submitted():
                return True
            case messages.CanceledJobs() as counts:
                return counts.canceled, counts.running, counts.already_final
            case messages.Retried(jobs):
                number = {identity: number for number, identity in enumerate(self._ids)}
                return sorted((number[it.job], number[it.retried_as]) for it in jobs)
        assert answer.type == "error"
        return False if isinstance(asked, Submit) else None


def _only_adds(request: Request) -> bool:
    """Whether a request means the same before and after a job hears of its dependencies' end."""
    return isinstance(request, Submit) and not request.links


def _by_id(edge: Dependency | int | str, named: Sequence[str]) -> Dependency:
    assert isinstance(edge, Dependency)
    return edge if isinstance(edge.job, str) else Dependency(named[edge.job], edge.condition)
