"""The loop: take a batch, apply it in one transaction, then answer, acknowledge, publish.

Commit, then act. Whatever dies in between: what was not acknowledged is delivered again and
changes nothing the second time; what was not confirmed stands in the outbox and is published again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from sqlalchemy.exc import DatabaseError, DataError, IntegrityError

from broker_queue.amqp.channel import Delivery
from broker_queue.amqp.connection import Connection, Session
from broker_queue.errors import RequestError, Unavailable
from broker_queue.protocol.names import Names
from scheduler import clock, work
from scheduler.acting import Acting
from scheduler.answering import Answering
from scheduler.broker.inbox import Batch, Inbox
from scheduler.broker.outbox import Outbox
from scheduler.broker.topology import Topology
from scheduler.incoming import (
    Parked,
    RefusedRequest,
    Request,
    error_body,
    read_dead,
    read_reports,
    read_request,
    reply_address,
)
from scheduler.operations.reports import Incoming
from scheduler.operations.transaction import ReplyAddress
from scheduler.publishing import Publishing
from scheduler.rules.submission import Limits
from scheduler.settings import Settings
from scheduler.store import leader, secret
from scheduler.store.database import Database, database_error_text
from scheduler.store.writer import Reader, Writer
from scheduler.tokens import Tokens
from scheduler.work import Done, Work

log = logging.getLogger(__name__)

CONFIRM_PAUSE = 0.05
"""Seconds that confirms may wait for other work to share its transaction."""

STANDBY_PAUSE = 1.0
"""Seconds between looks at the lease."""

MAX_PUBLISHING = 1_000
"""Jobs on their way to the broker at a time; their args are in memory."""

DATABASE_PAUSE = 2.0
"""Seconds between attempts while the database does not work."""

STOP_TIMEOUT = 10.0
"""Seconds that a stop waits for confirms in flight."""

_CULPRIT_ERRORS = (DataError, IntegrityError)
"""The database works; a message asks for what it refuses, now and ever."""

_OUR_FAULT = Unavailable("the scheduler failed at this request; its log says why")


class Service:
    """One scheduler, from start to stop.

    Args:
        settings: of this scheduler.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names = Names(settings.namespace)
        self._database = Database(settings.database)
        self._limits = Limits(
            max_args_bytes=settings.max_args_bytes,
            max_result_bytes=settings.max_result_bytes,
            max_jobs=settings.max_jobs,
            max_dependencies=settings.max_dependencies,
        )
        self._wake = asyncio.Event()
        self._next_due: int | None = 0
        self._next_renewal = 0
        self._more = True
        self._unfilled: set[int] = set()
        self._stopped = asyncio.Event()
        self._reads: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Finish the batch that runs, then return from `run`."""
        self._stopped.set()
        self._wake.set()

    @property
    def _stopping(self) -> bool:
        return self._stopped.is_set()

    async def run(self) -> None:
        """Serve until stopped; waits as standby while another scheduler is the active one.

        Raises:
            ConfigurationError: database or broker cannot be used as they are set.
            leader.LostLease: another scheduler took over.
        """
        self._writer = Writer(self._database)
        await self._writer.prepare()
        try:
            if await self._lead():
                await self._serve()
        finally:
            await self._writer.close()

    async def _lead(self) -> bool:
        """Wait for the lease; False when stopped before."""
        holder = leader.this_holder()
        waiting = False
        while not self._stopping:
            now = clock.now()
            take = partial(leader.take, holder=holder, now=now, until=now + self._lease)
            self._writer.epoch = await self._writer.unfenced_transaction(take)
            if self._writer.epoch is not None:
                log.info("active on %s, epoch %d", self._database, self._writer.epoch)
                return True
            if not waiting:
                current = await self._writer.unfenced_transaction(leader.holder)
                log.info(
                    "standby: %s is active on %s; taking over when it is gone",
                    current[0] if current else "another scheduler",
                    self._database,
                )
                waiting = True
            await self._pause(STANDBY_PAUSE)
        return False

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until the stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    @property
    def _lease(self) -> int:
        return round(self._settings.lease * 1000)

    async def _serve(self) -> None:
        settings, names = self._settings, self._names
        key = await self._writer.transaction(partial(secret.get, make=secrets.token_bytes))
        self._tokens = Tokens(key)
        self._reader = Reader(self._database)
        topology = Topology(names, settings.queue_type, settings.delivery_limit)
        self._outbox = Outbox(settings.url, names, topology, self._on_outbox_up)
        self._inbox = Inbox(names, self._wake)
        self._consuming = Connection(
            settings.url, name=f"{names.namespace} scheduler, consuming", setup=self._consume
        )
        self._publishing = Publishing(
            self._outbox, self._reader, names, self._tokens, self._wake.set
        )
        self._answering = Answering(
            settings, names, self._reader, self._outbox, topology, self._tokens
        )
        self._answering.epoch = self._writer.epoch or 0
        self._acting = Acting(
            self._outbox,
            self._tokens,
            self._answering.waiters,
            self._publishing,
            events=settings.events,
        )
        try:
            await self._outbox.start(fail_fast=False)
            await self._begin()
            await self._loop()
            await self._publishing.finish(STOP_TIMEOUT)
            await self._mark_published()
            await self._writer.transaction(leader.give_up)
            log.info("stopped; nothing is lost")
        finally:
            for task in self._reads:
                task.cancel()
            await self._consuming.close()
            await self._outbox.close()
            await self._reader.close()

    async def _begin(self) -> None:
        """Take up the work that an earlier scheduler left, and begin to consume."""
        outbox, queues = await self._writer.transaction(work.begin)
        self._publishing.unconfirmed.update(outbox)
        self._unfilled.update(queues)
        await self._consuming.start()

    async def _consume(self, session: Session) -> None:
        await self._outbox.session()  # which declares the queues
        await self._inbox.consume(session)
        log.info(
            "ready: takes requests from %s, puts jobs into %s.<type>",
            self._names.requests,
            self._names.jobs,
        )

    async def _on_outbox_up(self) -> None:
        self._wake.set()

    async def _loop(self) -> None:
        while not self._stopping:
            await self._wait_for_work()
            batch = self._inbox.take(self._settings.batch)
            await self._process(batch)

    async def _wait_for_work(self) -> None:
        can_fill = self._unfilled and self._publishing.in_flight < MAX_PUBLISHING // 2
        if self._more or can_fill or len(self._inbox):
            await asyncio.sleep(0)
            return
        self._wake.clear()
        due = min(self._next_renewal, self._next_due or self._next_renewal)
        wait = max(0.0, (due - clock.now()) / 1000)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._wake.wait()
        if not len(self._inbox) and self._publishing.confirmed and not self._publishing.failed:
            with suppress(TimeoutError):  # only confirms: let them share the next transaction
                async with asyncio.timeout(CONFIRM_PAUSE):
                    await self._arrival()

    async def _arrival(self) -> None:
        while not len(self._inbox) and not self._stopping:
            self._wake.clear()
            await self._wake.wait()

    async def _process(self, batch: Batch) -> None:
        """Fold a batch. If that fails, fold its messages one by one and park the culprit."""
        try:
            await self._fold(batch)
        except leader.LostLease:
            raise
        except Exception as error:
            if isinstance(error, DatabaseError) and not isinstance(error, _CULPRIT_ERRORS):
                await self._database_failed(batch, error)
                return
            if len(batch.deliveries) <= 1:
                await self._park_culprit(batch)
                return
            log.exception("a batch failed; folding its messages one by one")
            for single in _singles(batch):
                await self._process(single)

    async def _fold(self, batch: Batch) -> None:
        requests, reads, parked, refused = self._sort_requests(batch.requests)
        reports, parked_reports = self._sort_reports(batch)
        todo = self._work(requests, reports)
        self._more = False
        if _is_something(todo):
            apply = partial(
                work.apply, work=todo, limits=self._limits, window=self._settings.window
            )
            try:
                done = await self._writer.transaction(apply)
            except BaseException:
                self._put_back(todo)
                raise
            self._note(todo, done)
            await self._acting.carry_out(done.effects)
            parked += [Parked(request.delivery, reason) for request, reason in done.refused]
        for refusal in refused:
            await self._outbox.answer(*refusal.reply, "error", error_body(refusal.error))
        for request in reads:
            self._begin_read(request)
        await self._settle(batch, [*parked, *parked_reports])

    async def _settle(self, batch: Batch, parked: Sequence[Parked]) -> None:
        """Park what nobody can be told about, then acknowledge the batch."""
        try:
            for delivery, reason in parked:
                await self._outbox.park(delivery, reason)
        except Unavailable as error:
            parked[0].delivery.channel.session.fail(f"a message could not be parked: {error}")
            return
        await self._inbox.acknowledge(batch)

    def _sort_requests(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[list[Request], list[Request], list[Parked], list[RefusedRequest]]:
        writes: list[Request] = []
        reads: list[Request] = []
        parked: list[Parked] = []
        refused: list[RefusedRequest] = []
        for delivery in deliveries:
            found = read_request(delivery)
            if isinstance(found, Parked):
                parked.append(found)
            elif isinstance(found, RefusedRequest):
                refused.append(found)
            elif self._answering.can(found.operation):
                reads.append(found)
            else:
                writes.append(found)
        return writes, reads, parked, refused

    def _sort_reports(self, batch: Batch) -> tuple[list[Incoming], list[Parked]]:
        reports: list[Incoming] = []
        parked: list[Parked] = []
        for delivery in batch.reports:
            found, problem = read_reports(delivery, self._tokens, self._limits.max_result_bytes)
            reports.extend(found)
            if problem is not None:
                parked.append(problem)
        for delivery in batch.dead:
            death = read_dead(delivery, self._tokens)
            if isinstance(death, Parked):
                parked.append(death)
            else:
                reports.append(death)
        return reports, parked

    def _work(self, requests: list[Request], reports: list[Incoming]) -> Work:
        now = clock.now()
        publishing = self._publishing
        confirmed, publishing.confirmed = publishing.confirmed, []
        failed, publishing.failed = publishing.failed, []
        again: set[int] = set()
        if publishing.unconfirmed and self._outbox.is_up and now >= publishing.pause_until:
            again, publishing.unconfirmed = publishing.unconfirmed, set()
        renew = now >= self._next_renewal
        return Work(
            now=now,
            requests=requests,
            reports=reports,
            failed=failed,
            published=confirmed,
            fill=self._unfilled,
            room=max(0, MAX_PUBLISHING - publishing.in_flight),
            publish_again=again,
            run_timers=self._next_due is not None and now >= self._next_due,
            settle=self._more,
            renew_lease_until=now + self._lease if renew else None,
        )

    def _put_back(self, todo: Work) -> None:
        """Keep what no message brings again, for the next transaction."""
        self._publishing.confirmed += todo.published
        self._publishing.failed += todo.failed
        self._publishing.unconfirmed |= set(todo.publish_again)

    def _note(self, todo: Work, done: Done) -> None:
        if todo.run_timers:
            self._next_due = done.next_due
        due = done.effects.next_due
        if due is not None and (self._next_due is None or due < self._next_due):
            self._next_due = due
        if todo.renew_lease_until is not None:
            self._next_renewal = todo.now + self._lease // 3
        self._more = done.effects.more
        self._unfilled = done.effects.unfilled

    def _begin_read(self, request: Request) -> None:
        if request.reply is None:
            return  # nobody wants to know
        task = asyncio.create_task(self._read(request, request.reply))
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)

    async def _read(self, request: Request, reply: ReplyAddress) -> None:
        try:
            answer = await self._answering.answer(request.operation, request.message)
        except RequestError as error:
            await self._outbox.answer(*reply, "error", error_body(error))
        except DatabaseError as error:
            text = f"the scheduler's database does not work: {database_error_text(error)}"
            await self._outbox.answer(*reply, "error", error_body(Unavailable(text)))
        except Exception:
            log.exception("request %s failed", request.operation)
            await self._outbox.answer(*reply, "error", error_body(_OUR_FAULT))
        else:
            await self._outbox.answer(*reply, "ok", answer)

    async def _database_failed(self, batch: Batch, error: DatabaseError) -> None:
        """Acknowledge nothing; try the same batch again until the database works."""
        log.error(
            "the database does not work, nothing is acknowledged: %s", database_error_text(error)
        )
        while not self._stopping:
            await self._pause(DATABASE_PAUSE)
            try:
                await self._fold(batch)
            except DatabaseError:
                continue
            log.info("the database works again")
            return

    async def _park_culprit(self, batch: Batch) -> None:
        log.exception("a message could not be folded; it is parked")
        for delivery in batch.requests:
            reply = reply_address(delivery)
            if reply is not None:
                await self._outbox.answer(*reply, "error", error_body(_OUR_FAULT))
        reason = "the scheduler failed at this message; its log says why"
        await self._settle(batch, [Parked(delivery, reason) for delivery in batch.deliveries])

    async def _mark_published(self) -> None:
        await self._writer.transaction(
            partial(
                work.apply,
                work=Work(now=clock.now(), published=self._publishing.confirmed, room=0),
                limits=self._limits,
                window=self._settings.window,
            )
        )


def _is_something(todo: Work) -> bool:
    return bool(
        todo.requests
        or todo.reports
        or todo.published
        or todo.publish_again
        or todo.failed
        or (todo.fill and todo.room)
        or todo.run_timers
        or todo.settle
        or todo.renew_lease_until
    )


def _singles(batch: Batch) -> list[Batch]:
    return [
        *(Batch(reports=[delivery]) for delivery in batch.reports),
        *(Batch(dead=[delivery]) for delivery in batch.dead),
        *(Batch(requests=[delivery]) for delivery in batch.requests),
    ]
