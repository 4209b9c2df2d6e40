"""The operations on a real database, driven without a broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine, select

from broker_queue.errors import RequestError
from broker_queue.graph import new_job_id
from broker_queue.job import Condition, State
from broker_queue.protocol.messages import (
    Backoff,
    Cancel,
    Dependency,
    Extension,
    NewJob,
    Retry,
    Submit,
)
from scheduler.operations import cancel, handout, reports, retry, settle, submit, timers
from scheduler.operations.reports import Incoming
from scheduler.operations.transaction import ReplyAddress, Transaction
from scheduler.rules import lifecycle
from scheduler.rules.submission import Limits, id_bytes, id_text
from scheduler.store.dispatch import Room
from scheduler.store.tables import job
from scheduler.tokens import Token
from tests.model.history import Seen, Spec
from tests.support.sanity import sanity_check

T = TypeVar("T")
BACKOFF = Backoff(initial=1.0, factor=2.0, maximum=300_000_000.0, jitter=0.0)
SOMEBODY = ReplyAddress("amq.rabbitmq.reply-to.x", "1")


class StoredEngine:
    """Plays histories through the store; a tiny budget of edges makes every cascade come in parts."""

    def __init__(self, engine: Engine, *, edges_at_once: int = 3) -> None:
        self._engine = engine
        self._limits = Limits(max_edges_told=edges_at_once)
        self._ids: list[str] = []
        self.now = 0
        self.transactions = 0

    def submit(self, specs: list[Spec]) -> None:
        first = len(self._ids)
        self._ids += [new_job_id() for _ in specs]
        new = [self._new_job(first + index, spec, first) for index, spec in enumerate(specs)]
        self._do(lambda transaction: submit.submit(transaction, Submit(jobs=new), b""))

    def report(self, number: int, kind: str, handover: int) -> str:
        event: lifecycle.Report = {
            "finished": lifecycle.Succeed(handover),
            "failed": lifecycle.Fail(handover),
            "final failure": lifecycle.Fail(handover, retry=False),
            "started": lifecycle.Start(handover),
            "released": lifecycle.HandBack(handover),
        }[kind]
        token = Token(id_bytes(self._ids[number], "id"), handover, number + 1)
        result = b"1" if kind == "finished" else None
        report = Incoming(token, event, result=result, reply=SOMEBODY)

        def fold(transaction: Transaction) -> str:
            reports.fold(transaction, [report])
            return transaction.effects.answers[-1].type

        return self._do(fold)

    def cancel(self, number: int, *, dependents: bool) -> None:
        request = Cancel(jobs=[self._ids[number]], dependents=dependents)
        self._do(lambda transaction: cancel.cancel(transaction, request))

    def extend(self, number: int, parent: int, condition: Condition) -> bool:
        edge = Dependency(job=self._ids[parent], condition=condition)
        extension = Extension(job=self._ids[number], dependencies=[edge])
        return self._try(
            lambda transaction: submit.submit(transaction, Submit(extend=[extension]), b"")
        )

    def retry(self, number: int) -> bool:
        request = Retry(jobs=[self._ids[number]])
        done = self._try(lambda transaction: retry.retry(transaction, request))
        with self._engine.begin() as connection:
            rows = connection.execute(select(job.c.id).order_by(job.c.key)).scalars()
            self._ids = [id_text(identity) for identity in rows]
        return done

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds
        self._do(timers.run_due)

    def seen(self) -> list[Seen]:
        with self._engine.begin() as connection:
            rows = connection.execute(select(job).order_by(job.c.key)).all()
        return [
            Seen(
                State(row.state),
                row.attempt,
                row.handover,
                None if row.cause_key is None else row.cause_key - 1,
            )
            for row in rows
        ]

    def check(self) -> None:
        """Check the invariants by query."""
        with self._engine.begin() as connection:
            sanity_check(connection)

    def _new_job(self, number: int, spec: Spec, first: int) -> NewJob:
        return NewJob(
            id=self._ids[number],
            type=None if spec.is_milestone else "t",
            dependencies=[
                Dependency(
                    job=parent - first if parent >= first else self._ids[parent], condition=c
                )
                for parent, c in spec.parents
            ],
            max_attempts=spec.max_attempts,
            backoff=BACKOFF,
            delay=spec.delay / 1000 if spec.delay else None,
        )

    def _try(self, work: Callable[[Transaction], object]) -> bool:
        try:
            self._do(work)
        except RequestError:
            return False
        return True

    def _do(self, work: Callable[[Transaction], T]) -> T:
        """Do `work` in a transaction, then all that it left over, as the loop does."""
        result, more = self._transact(work)
        while more:
            _, more = self._transact(settle.settle_frontier)
        return result

    def _transact(self, work: Callable[[Transaction], T]) -> tuple[T, bool]:
        self.transactions += 1
        with self._engine.begin() as connection:
            return self._run(connection, work)

    def _run(self, connection: Connection, work: Callable[[Transaction], T]) -> tuple[T, bool]:
        transaction = Transaction(connection, self.now, lambda: 0.0, self._limits)
        result = work(transaction)
        handout.hand_out(transaction, window=1 << 20, room=Room(1 << 20, 1 << 40))
        return result, transaction.effects.more
