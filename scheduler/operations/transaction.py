"""One transaction: the jobs it has loaded, what it changed, what the outside will hear of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from broker_queue.job import State, Verdict
from broker_queue.protocol.messages import Error, Message, encode
from scheduler.rules import lifecycle
from scheduler.rules.lifecycle import (
    Cancel,
    Dispatch,
    Event,
    JobFacts,
    Lapse,
    TimeOut,
    decide,
)
from scheduler.rules.submission import Limits
from scheduler.store import dispatch, jobs
from scheduler.store.database import Connection
from scheduler.store.dispatch import Handout
from scheduler.store.jobs import Identity, LoadedJob


class ReplyAddress(NamedTuple):
    """Where an answer goes, and by what its receiver knows it."""

    reply_to: str
    correlation_id: str | None
    message_id: str | None


class Answer(NamedTuple):
    """An answer to a request or report; `type` is ``ok``, ``error`` or a verdict."""

    address: ReplyAddress
    type: str
    body: Message


class Change(NamedTuple):
    """A job entered a state."""

    identity: Identity
    facts: JobFacts
    error: Error | None = None


class Revoked(NamedTuple):
    """A hand-over whose holder must stop, or never start."""

    identity: Identity
    handover: int
    key: int


@dataclass(slots=True)
class Effects:
    """What is done once the transaction is committed."""

    answers: list[Answer] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    progressed: list[tuple[Identity, JobFacts, bytes]] = field(default_factory=list)
    revoked: list[Revoked] = field(default_factory=list)
    lost: list[Change] = field(default_factory=list)
    """Jobs as their silent workers held them by lease."""
    handouts: list[Handout] = field(default_factory=list)
    dependency_ids: dict[int, list[bytes]] = field(default_factory=dict)
    unfilled: set[int] = field(default_factory=set)
    """Queues whose windows have room that this transaction did not fill."""
    unpublished: set[int] = field(default_factory=set)
    """Jobs that the broker has not confirmed and that are to be published again, but not yet."""
    next_due: int | None = None
    """When the timer has to come at the latest, as far as this transaction knows."""
    more: bool = False
    """Bounded work was left over: run another transaction at once."""


class Transaction:
    """Applies events to jobs; nothing is written before `flush`.

    Args:
        connection: inside a transaction of the writer.
        now: milliseconds since the epoch.
        chance: returns a number from 0 to 1, for jitter.
        limits: bounds of submits.
    """

    def __init__(
        self, connection: Connection, now: int, chance: Callable[[], float], limits: Limits
    ) -> None:
        self.connection = connection
        self.now = now
        self.limits = limits
        self.effects = Effects()
        self.ended: list[int] = []
        self.queues: set[int] = set()
        self.moves: Counter[int] = Counter()
        """By how much the counts of jobs that queues have with the broker change."""
        self.results: dict[int, bytes] = {}
        """Of jobs that finished in this transaction."""
        self._chance = chance
        self._jobs: dict[int, LoadedJob] = {}
        self._stored: dict[int, JobFacts] = {}
        self._outcomes: dict[int, tuple[bytes | None, bytes | None]] = {}
        self._progress: dict[int, bytes] = {}

    def load(self, keys: Collection[int]) -> None:
        """Load the jobs with these keys, unless they are here already."""
        missing = [key for key in keys if key not in self._jobs]
        self._jobs.update(jobs.load(self.connection, missing))

    def adopt(self, loaded: Collection[LoadedJob]) -> None:
        """Take in jobs that were loaded, or inserted, by other means."""
        for job in loaded:
            self._jobs.setdefault(job.facts.key, job)

    def job(self, key: int) -> LoadedJob | None:
        """Return a loaded job as it is now, or None if there is none."""
        return self._jobs.get(key)

    def facts(self, key: int) -> JobFacts:
        """Return the facts of a loaded job as they are now."""
        return self._jobs[key].facts

    def identity(self, key: int) -> Identity:
        """Return what outsiders are told of a loaded job."""
        return self._jobs[key].identity

    def apply(
        self, key: int, event: Event, *, result: bytes | None = None, error: Error | None = None
    ) -> Verdict:
        """Apply an event to a loaded job and return whether it changed anything."""
        before, identity = self._jobs[key]
        after = decide(before, event, self.now, self._chance())
        if isinstance(after, Verdict):
            return after
        self._stored.setdefault(key, before)
        self._jobs[key] = LoadedJob(after, identity)
        self._mind(after.due_at)
        is_settled = isinstance(event, Cancel) and before.attempt > 0  # an older attempt's error
        if result is not None:
            self.results[key] = result
        if result is not None or error is not None or is_settled:
            self._outcomes[key] = (result, None if error is None else encode(error))
        if isinstance(event, Cancel | TimeOut | Lapse) and _is_with_a_worker(before):
            self.effects.revoked.append(Revoked(identity, before.handover, key))
        if isinstance(event, Lapse) and before.leased_until is not None:
            self.effects.lost.append(Change(identity, before, error))
        if after.state is not before.state:
            self.note(LoadedJob(after, identity), error)
        if after.queue_key is not None and (
            after.state is State.QUEUED or before.dispatch is not after.dispatch
        ):
            self.queues.add(after.queue_key)
        return Verdict.ACCEPTED

    def note(self, job: LoadedJob, error: Error | None = None) -> None:
        """Note that a job entered its state: an event, and its dependents if it ended."""
        self.effects.changes.append(Change(job.identity, job.facts, error))
        self._mind(job.facts.due_at)
        if job.facts.state.is_final:
            self.ended.append(job.facts.key)

    def _mind(self, due_at: int | None) -> None:
        due = self.effects.next_due
        if due_at is not None and (due is None or due_at < due):
            self.effects.next_due = due_at

    def progress(self, key: int, text: bytes) -> None:
        """Keep what a worker says of a running job."""
        facts, identity = self._jobs[key]
        self._progress[key] = text
        self.effects.progressed.append((identity, facts, text))

    def revoke(self, key: int) -> None:
        """Have the workers of its type told of a canceled job."""
        facts, identity = self._jobs[key]
        self.effects.revoked.append(Revoked(identity, facts.handover, key))

    def note_published(self, handovers: Iterable[tuple[int, int]]) -> None:
        """Note that the broker has confirmed jobs (key, number of the hand-over).

        What is not loaded is written at once, and need not be loaded for that.
        """
        others = []
        for key, number in handovers:
            if key not in self._jobs:
                others.append((key, number))
                continue
            facts, identity = self._jobs[key]
            after = lifecycle.note_published(facts, number)
            if after is not facts:
                self._stored.setdefault(key, facts)
                self._jobs[key] = LoadedJob(after, identity)
        dispatch.mark_published(self.connection, others)

    def drop(self, key: int) -> None:
        """Note that the message of a canceled job lies in its queue no more."""
        facts, identity = self._jobs[key]
        if facts.dispatch is Dispatch.NONE or facts.queue_key is None:
            return
        self._stored.setdefault(key, facts)
        self._jobs[key] = LoadedJob(_without_dispatch(facts), identity)
        self.queues.add(facts.queue_key)

    def revoke_again(self, key: int) -> None:
        """Have workers told once more of a canceled job that one of them may hold."""
        facts, _ = self._jobs[key]
        may_be_held = facts.dispatch is not Dispatch.NONE or facts.started_at is not None
        if facts.state is State.CANCELED and may_be_held:
            self.revoke(key)

    def flush(self) -> None:
        """Write what has changed since the last flush, except `moves`."""
        if self._stored:
            after = [self._jobs[key].facts for key in self._stored]
            jobs.write(self.connection, self._stored.values(), after)
            for old, new in zip(self._stored.values(), after, strict=True):
                if new.queue_key is not None:
                    self.moves[new.queue_key] += bool(new.dispatch) - bool(old.dispatch)
            self._stored.clear()
        jobs.write_outcomes(self.connection, self._outcomes)
        jobs.write_progress(self.connection, self._progress)
        self._outcomes.clear()
        self._progress.clear()

    def flush_moves(self) -> None:
        """Write `moves`, once for all flushes: what goes to the broker makes up for what ended."""
        jobs.change_handed_out(self.connection, self.moves)
        self.moves.clear()

    def answer(self, address: ReplyAddress | None, kind: str, body: Message) -> None:
        """Answer, after the commit, whoever asked for it."""
        if address is not None:
            self.effects.answers.append(Answer(address, kind, body))


def _is_with_a_worker(job: JobFacts) -> bool:
    return job.state is State.RUNNING or job.dispatch is not Dispatch.NONE


def _without_dispatch(job: JobFacts) -> JobFacts:
    return msgspec.structs.replace(job, dispatch=Dispatch.NONE)
