"""Commit, then act: what the outside hears of a committed transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from broker_queue.amqp.failures import Unroutable
from broker_queue.errors import Unavailable
from broker_queue.failpoints import Point, failpoint
from broker_queue.protocol.messages import JobEvent, Progress
from scheduler import clock
from scheduler.broker.outbox import Outbox
from scheduler.operations.transaction import Answer, Change, Effects, Revoked
from scheduler.publishing import Publishing
from scheduler.rules.submission import id_text
from scheduler.tokens import Tokens
from scheduler.waiters import Waiters

log = logging.getLogger(__name__)


class Acting:
    """Carries out effects: jobs, in the background; cancels, answers, events.

    Args:
        outbox: where all of it goes.
        tokens: name the hand-overs that are canceled.
        waiters: hear of jobs that ended.
        publishing: takes the jobs that were handed out.
        events: whether changes are told to the events exchange.
    """

    def __init__(
        self,
        outbox: Outbox,
        tokens: Tokens,
        waiters: Waiters,
        publishing: Publishing,
        *,
        events: bool,
    ) -> None:
        self._outbox = outbox
        self._tokens = tokens
        self._waiters = waiters
        self._publishing = publishing
        self._tells_events = events
        self._untold: list[Revoked] = []
        self._unanswered: list[Answer] = []
        self._trouble = ""

    @property
    def is_behind(self) -> bool:
        """Whether the broker has not taken yet what workers are to be told of cancels."""
        return bool(self._untold)

    async def carry_out(self, effects: Effects) -> None:
        """Tell whoever is concerned. Jobs come first: nobody asks again for one that was left.

        A cancel is answered once the broker has confirmed what workers are told of it. While this
        `is_behind`, the loop takes reports only, which are answered if that is possible.
        """
        self._publishing.start(effects)
        await asyncio.sleep(0)  # they are written before anything else
        for item in effects.lost:
            log.warning(
                "worker %s fell silent while it held job %s (%s) by lease; %s",
                item.facts.worker or "without a name",
                id_text(item.identity.id),
                item.identity.type,
                "the job fails" if item.error else "the job is handed to another",
            )
        if self.is_behind:
            self._untold += effects.revoked
            await self._answer(effects.answers)
        else:
            self._untold, self._unanswered = effects.revoked, effects.answers
            await self.catch_up()
        self._waiters.ended((item.identity.id, item.facts.state) for item in effects.changes)
        if self._tells_events:
            self._outbox.tell(_events(effects, clock.now()))

    async def catch_up(self) -> None:
        """Tell workers of cancels, then answer those who asked for them; keep it if that fails."""
        revoked, self._untold = self._untold, []
        answers, self._unanswered = self._unanswered, []
        if revoked:
            try:
                await self._revoke(revoked)
            except (Unavailable, Unroutable) as error:
                level = logging.DEBUG if str(error) == self._trouble else logging.WARNING
                log.log(level, "cancels are answered once workers can be told of them: %s", error)
                self._trouble = str(error)
                self._untold, self._unanswered = revoked, answers
                return
            self._trouble = ""
        await self._answer(answers)

    async def _answer(self, answers: Sequence[Answer]) -> None:
        for _ in answers:
            failpoint(Point.BEFORE_ANSWER)
        await self._outbox.answer_all(answers)
        for _ in answers:
            failpoint(Point.AFTER_ANSWER)

    async def _revoke(self, revoked: Sequence[Revoked]) -> None:
        tokens = [
            (
                item.identity.type or "",
                item.identity.channel,
                self._tokens.make(item.identity.id, item.handover, item.key),
            )
            for item in revoked
        ]
        failpoint(Point.BEFORE_REVOKE)
        await self._outbox.revoke(tokens)
        failpoint(Point.AFTER_REVOKE)


def _events(effects: Effects, now: int) -> list[JobEvent]:
    events = [_event(change, now) for change in effects.changes]
    for identity, facts, text in effects.progressed:
        event = _event(Change(identity, facts), now)
        event.progress = msgspec.json.decode(text, type=Progress)
        events.append(event)
    return events


def _event(change: Change, now: int) -> JobEvent:
    identity = change.identity
    return JobEvent(
        job=id_text(identity.id),
        state=change.facts.state,
        at=now,
        type=identity.type,
        name=identity.name,
        channel=identity.channel,
        graph=None if identity.graph is None else id_text(identity.graph.id),
        attempt=change.facts.attempt,
        error=change.error,
    )
