"""The loop: take a batch, apply it in one transaction, then answer, acknowledge, publish.

Commit, then act. Whatever dies in between: what was not acknowledged is delivered again and
changes nothing the second time; what was not confirmed stands in the outbox and is published again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from broker_queue.amqp.channel import Delivery
from broker_queue.errors import Unavailable
from broker_queue.job import Verdict
from broker_queue.protocol.reports import ReportAnswer
from scheduler import clock, work
from scheduler.acting import Acting
from scheduler.answering import Answering
from scheduler.broker.inbox import Batch, Inbox
from scheduler.broker.outbox import Outbox
from scheduler.broker.topology import Topology
from scheduler.hearing import Hearing
from scheduler.incoming.addressing import Parked, reply_address
from scheduler.incoming.reports import Terms
from scheduler.incoming.requests import error_body
from scheduler.incoming.sorting import Sorted, sort
from scheduler.operations.timers import Leases
from scheduler.publishing import Publishing, Settled
from scheduler.reconciling import Reconciling
from scheduler.rules.submission import Limits
from scheduler.settings import Settings
from scheduler.store import leader
from scheduler.store.database import DatabaseDown, Trouble
from scheduler.store.dispatch import HeldJob, Room
from scheduler.store.writer import Writer
from scheduler.tokens import Tokens
from scheduler.work import Done, Work

log = logging.getLogger(__name__)

HANDED_OUT_AT_ONCE = 200
"""Jobs in one transaction: 15 ms."""

DATABASE_PAUSE = 2.0
"""Seconds between attempts while the database does not work."""

TELL_PAUSE = 1.0
"""Seconds between attempts to tell workers of cancels."""

STOP_TIMEOUT = 10.0
"""Seconds that a stop waits for confirms in flight."""

_OUR_FAULT = Unavailable("the scheduler failed at this request; its log says why")


class Loop:
    """Moves messages into transactions, and their effects out; it decides nothing itself."""

    def __init__(  # noqa: PLR0917  # the parts of a scheduler, put together in one place
        self,
        settings: Settings,
        writer: Writer,
        tokens: Tokens,
        inbox: Inbox,
        outbox: Outbox,
        publishing: Publishing,
        answering: Answering,
        acting: Acting,
        topology: Topology,
        reconciling: Reconciling,
        hearing: Hearing,
    ) -> None:
        self._writer = writer
        self._tokens = tokens
        self._inbox = inbox
        self._outbox = outbox
        self._publishing = publishing
        self._answering = answering
        self._acting = acting
        self._topology = topology
        self._reconciling = reconciling
        self._hearing = hearing
        self._wake = inbox.arrived
        self._batch_size = settings.batch
        self._window = settings.window
        self._takeover_after = round(settings.takeover_after * 1000)
        self._limits = Limits(
            max_args_bytes=settings.max_args_bytes,
            max_result_bytes=settings.max_result_bytes,
            max_jobs=settings.max_jobs,
            max_dependencies=settings.max_dependencies,
        )
        self._terms = Terms(settings.max_result_bytes, round(settings.lease_duration * 1000))
        self._max_losses = settings.delivery_limit
        self._patience = round(settings.lost_after * 1000)
        self._next_due: int | None = 0
        self._next_renewal = 0
        self._more = True
        self._unfilled: set[int] = set()
        self._stopped = asyncio.Event()
        self._failure: DatabaseDown | None = None
        self._answered: list[Delivery] = []
        """Reads of the batch that waits for the database, answered before it is folded."""
        self._held: list[Delivery] = []
        """Requests that are acknowledged once workers were told of the cancels among them."""

    def stop(self) -> None:
        """Finish the batch that runs, then return from `run`."""
        self._stopped.set()
        self._wake.set()

    def fail(self, error: DatabaseDown) -> None:
        """Like `stop`, but `run` raises `error`: a reader has found the database damaged."""
        self._failure = error
        self.stop()

    async def begin(self) -> None:
        """Take up the work that an earlier scheduler left."""
        outbox, queues = await self._writer.transaction(work.begin)
        self._publishing.postpone(outbox)
        self._unfilled.update(queues)

    async def run(self) -> None:
        """Serve until stopped, then note what the broker still confirms.

        Raises:
            leader.LostLeadership: another scheduler took over.
            DatabaseDown: the database is damaged.
        """
        while not self._stopped.is_set():
            await self._wait_for_work()
            await self._catch_up()
            await self._process(self._inbox.take(self._batch_size))
        if self._failure is not None:
            raise self._failure
        await self._inbox.settle()
        confirmed = await self._publishing.finish(STOP_TIMEOUT)
        try:
            await self._transact(Work(now=clock.now(), published=confirmed))
        except DatabaseDown as error:
            log.warning("what the broker confirmed last is published again later: %s", error)

    async def _wait_for_work(self) -> None:
        can_fill = self._unfilled and self._publishing.has_room
        if self._more or can_fill or len(self._inbox):
            await asyncio.sleep(0)
            return
        self._wake.clear()
        due = min(
            self._next_renewal,
            self._next_due or self._next_renewal,
            self._publishing.next_attempt or self._next_renewal,
        )
        wait = max(0.0, (due - clock.now()) / 1000)
        if self._acting.is_behind:
            wait = min(wait, TELL_PAUSE)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._wake.wait()

    async def _catch_up(self) -> None:
        """Tell workers of cancels that the broker did not take before; settle who asked for them.

        Until then no more requests are taken: they could not be answered, nor acknowledged in order.
        """
        if self._acting.is_behind:
            await self._acting.catch_up()
        self._inbox.takes_requests = not self._acting.is_behind
        if self._held and self._inbox.takes_requests:
            held, self._held = self._held, []
            await self._inbox.acknowledge(Batch(held))

    async def _process(self, batch: Batch) -> None:
        """Fold a batch, once the database works.

        If it cannot be folded, what is due anyhow is done without it (that failing is nobody's
        fault but ours, and ends this scheduler), then its messages one by one, and the culprit
        among them is parked.
        """
        try:
            await self._fold_when_possible(batch)
        except (leader.LostLeadership, DatabaseDown):
            raise
        except Exception:
            if not batch:
                raise
            log.exception("a batch could not be folded; going on with its messages one by one")
            await self._fold_when_possible(Batch())
            for single in batch.singles():
                try:
                    await self._fold_when_possible(single)
                except (leader.LostLeadership, DatabaseDown):
                    raise
                except Exception:
                    await self._park_culprit(single)

    async def _fold_when_possible(self, batch: Batch) -> None:
        """Fold a batch; while the database does not work, wait, and acknowledge nothing.

        Requests that only read are answered meanwhile, as far as the database can be read.

        Raises:
            DatabaseDown: it is damaged.
        """
        trouble: Trouble | None = None
        while True:
            try:
                if trouble:
                    await self.begin()  # the last transaction may have been committed all the same
                await self._fold(batch)
            except DatabaseDown as error:
                if error.trouble is Trouble.DAMAGED:
                    raise
                level = logging.DEBUG if error.trouble is trouble else logging.ERROR
                log.log(level, "nothing is acknowledged until the database works: %s", error)
                trouble = error.trouble
            else:
                if trouble:
                    self._hearing.begin()
                    log.info("the database works again")
                return
            await self._answer_reads(batch)
            with suppress(TimeoutError):
                async with asyncio.timeout(DATABASE_PAUSE):
                    await self._stopped.wait()
            if self._stopped.is_set():
                return  # the broker delivers the batch again, to the next scheduler

    async def _answer_reads(self, batch: Batch) -> None:
        """Answer what only reads, of the batch that waits and of what has arrived since.

        The former are acknowledged with their batch, so they are kept from a second answer here;
        a reader that finds the database out of order answers ``unavailable``.
        """
        for request in self._sort(Batch(batch.requests)).reads:
            if request.delivery not in self._answered:
                self._answered.append(request.delivery)
                self._answering.begin(request)
        for delivery in self._inbox.take_requests(self._answering.has):
            single = Batch([delivery])
            found = self._sort(single)
            for request in found.reads:
                self._answering.begin(request)
            await self._refuse(found)
            await self._settle(single, found.parked, multiple=False)  # others before it wait

    async def _fold(self, batch: Batch) -> None:
        """Apply a batch, and what is due anyhow, in one transaction; then tell whom it concerns."""
        found = self._sort(batch)
        remade, lost = self._topology.take_made(), self._reconciling.take()  # before what follows
        settled = self._publishing.take(clock.now())
        todo = self._work(found, settled, remade, lost)
        done = Done()
        self._more = False
        if todo:
            try:
                done = await self._transact(todo)
            except BaseException:
                self._topology.put_back(remade)
                self._reconciling.put_back(lost)
                self._publishing.put_back(settled)
                self._more = True
                raise
            self._note(todo, done)
        await self._act(batch, found, done)

    async def _transact(self, todo: Work) -> Done:
        return await self._writer.transaction(
            lambda connection: work.apply(connection, todo, self._limits, self._window),
            is_short=todo.is_short,
        )

    def _sort(self, batch: Batch) -> Sorted:
        return sort(batch, self._tokens, self._terms, self._answering.has)

    def _work(
        self,
        found: Sorted,
        settled: Settled,
        remade: set[tuple[str, str]],
        lost: Sequence[HeldJob],
    ) -> Work:
        now = clock.now()
        renew = now >= self._next_renewal
        hears_at = self._hearing.means_something_at(now, unread=len(self._inbox) > 0)
        return Work(
            now=now,
            requests=found.writes,
            reports=found.reports,
            failed=settled.failed,
            published=settled.confirmed,
            publish_again=settled.again,
            fill=self._unfilled,
            room=self._room(),
            run_timers=self._next_due is not None and now >= self._next_due,
            leases=Leases(hears_at, self._max_losses, self._patience),
            remade=remade,
            lost=lost,
            settle=self._more,
            lead_until=now + self._takeover_after if renew else None,
        )

    def _room(self) -> Room:
        jobs, size = self._publishing.room
        return Room(min(jobs, HANDED_OUT_AT_ONCE), size)

    def _note(self, todo: Work, done: Done) -> None:
        if todo.run_timers:
            self._next_due = done.next_due
        due = done.effects.next_due
        if due is not None and (self._next_due is None or due < self._next_due):
            self._next_due = due
        if todo.lead_until is not None:
            self._next_renewal = todo.now + self._takeover_after // 3
        self._more = done.effects.more
        self._publishing.postpone(done.effects.unpublished)
        self._unfilled = done.effects.unfilled

    async def _act(self, batch: Batch, found: Sorted, done: Done) -> None:
        """Do what follows a commit: nothing can be refused any more, nor gains from a second fold."""
        try:
            await self._acting.carry_out(done.effects)
            await self._refuse(found)
        except Exception:  # whoever was not told asks again, and then finds it done
            log.exception("not everybody was told of what was committed")
        for request in found.reads:
            if request.delivery not in self._answered:
                self._answering.begin(request)
        self._answered.clear()
        unheard = [Parked(request.delivery, reason) for request, reason in done.refused]
        await self._settle(batch, [*found.parked, *unheard])

    async def _refuse(self, found: Sorted) -> None:
        """Answer what means nothing, where somebody asked."""
        refused = [(reply, "error", error_body(error)) for reply, error in found.refused]
        unknown = [(reply, Verdict.NOT_EXIST, ReportAnswer()) for reply in found.unknown]
        await self._outbox.answer_all([*refused, *unknown])

    async def _settle(
        self, batch: Batch, parked: Sequence[Parked], *, multiple: bool = True
    ) -> None:
        """Park what nobody can be told about, then acknowledge the batch."""
        try:
            await self._outbox.park(parked)
        except Unavailable as error:
            parked[0].delivery.channel.session.fail(f"a message could not be parked: {error}")
            return
        if self._acting.is_behind and multiple:
            self._inbox.takes_requests = False
            self._held += batch.requests
            batch = Batch(reports=batch.reports, dead=batch.dead)
        await self._inbox.acknowledge(batch, multiple=multiple)

    async def _park_culprit(self, batch: Batch) -> None:
        log.exception("a message could not be folded; it is parked")
        for delivery in batch.requests:
            reply = reply_address(delivery)
            if reply is not None:
                await self._outbox.answer_all([(reply, "error", error_body(_OUR_FAULT))])
        reason = "the scheduler failed at this message; its log says why"
        await self._settle(batch, [Parked(delivery, reason) for delivery in batch.deliveries])
