"""Requests that write nothing to the database: each is answered beside the loop, when it can be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from broker_queue.amqp.channel import QueueDepth
from broker_queue.amqp.ending import end
from broker_queue.errors import Invalid, RequestError, Unavailable
from broker_queue.job import State
from broker_queue.protocol import messages
from broker_queue.protocol.names import PROTOCOL_VERSION, Names
from scheduler import clock
from scheduler.broker.outbox import Outbox
from scheduler.broker.topology import Topology
from scheduler.incoming.requests import Request, error_body
from scheduler.operations.finding import no_graph, no_job
from scheduler.operations.transaction import ReplyAddress
from scheduler.rules.explain import OpenDependency, QueueFacts, Step, explain
from scheduler.rules.submission import id_bytes
from scheduler.settings import Settings
from scheduler.store import dispatch, queries
from scheduler.store.database import Connection, DatabaseDown
from scheduler.store.queries import Detail
from scheduler.store.writer import Reader
from scheduler.tokens import Tokens
from scheduler.waiters import Waiter, Waiters
from scheduler.workers import Workers

log = logging.getLogger(__name__)

MAX_EXPLAINED = 5
"""Open dependencies that an explanation lists of each job."""

MAX_STEPS = 50
"""Jobs on the way to a root cause that an explanation shows."""

MAX_WAY = 100_000
"""Jobs on the way to a root cause that are followed at all."""

MAX_HELLO_QUEUES = 1_000

MAX_UNDER_WAY = 20_000
"""Requests that are being answered, most of them waits; each takes some kilobytes."""

_TOO_MANY = Unavailable(f"more than {MAX_UNDER_WAY:,} requests are being answered; ask again later")
_OUR_FAULT = Unavailable("the scheduler failed at this request; its log says why")


class Answering:
    """Answers ``status``, ``wait``, ``list``, ``graph``, ``explain``, ``hello`` and the like."""

    def __init__(  # noqa: PLR0917  # the parts of a scheduler, put together in one place
        self,
        settings: Settings,
        names: Names,
        reader: Reader,
        outbox: Outbox,
        topology: Topology,
        tokens: Tokens,
    ) -> None:
        self._settings = settings
        self._names = names
        self._reader = reader
        self._outbox = outbox
        self._topology = topology
        self._tokens = tokens
        self._under_way: set[asyncio.Task[None]] = set()
        self._since = clock.now()
        self.waiters = Waiters()
        self.workers = Workers(round(settings.hello_interval * 1000))
        self.epoch = 0
        self._operations: dict[str, Callable[[Any], Awaitable[messages.Message]]] = {
            "status": self._status,
            "wait": self._wait,
            "list": self._list,
            "graph": self._graph,
            "graphs": self._graphs,
            "explain": self._explain,
            "hello": self._hello,
            "workers": self._workers,
            "info": self._info,
        }

    def has(self, operation: str) -> bool:
        """Whether this operation is answered here."""
        return operation in self._operations

    def begin(self, request: Request) -> None:
        """Answer a request as soon as that is possible."""
        if request.reply is None and request.operation != "hello":  # which tells something, too
            return
        task = asyncio.create_task(self._answer(request, request.reply))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Answer no more; who asked asks the next scheduler."""
        await asyncio.gather(*map(end, self._under_way), return_exceptions=True)

    async def _answer(self, request: Request, reply: ReplyAddress | None) -> None:
        kind, answer = await self._found(request)
        if reply is None:
            return
        try:
            await self._outbox.answer_all([(reply, kind, answer)])
        except Exception:  # of one request: it must not end the process, and be asked again
            log.exception("request %s could not be answered", request.operation)

    async def _found(self, request: Request) -> tuple[str, messages.Message]:
        try:
            if len(self._under_way) > MAX_UNDER_WAY:
                raise _TOO_MANY
            return "ok", await self._operations[request.operation](request.message)
        except RequestError as error:
            return "error", error_body(error)
        except DatabaseDown as error:
            return "error", error_body(Unavailable(str(error)))
        except Exception:
            log.exception("request %s failed", request.operation)
            return "error", error_body(_OUR_FAULT)

    async def _read(self, work: Callable[[Connection], Any]) -> Any:
        return await self._reader.read(work)

    async def _status(self, request: messages.GetStatus) -> messages.StatusPage:
        ids = [id_bytes(text, f"jobs[{i}]") for i, text in enumerate(request.jobs)]
        detail = Detail(args=request.args, result=request.result)

        def read(connection: Connection) -> messages.StatusPage:
            keys = _known_keys(connection, ids)
            if request.dependencies:
                keys = queries.with_ancestors(connection, keys, queries.MAX_ANSWER_JOBS)
            found, rest = queries.status_page(connection, keys, detail)
            return messages.StatusPage(jobs=found, more=queries.ids_of(connection, rest))

        page: messages.StatusPage = await self._read(read)
        return page

    async def _wait(self, request: messages.Wait) -> messages.Waited:
        ids = [id_bytes(text, f"jobs[{i}]") for i, text in enumerate(request.jobs)]
        if self.waiters.is_full:
            raise Unavailable("too many clients wait at once; ask for the status now and then")
        waiter = Waiter(ids, any_of=request.any)
        self.waiters.add(waiter)
        try:
            states = await self._read(lambda connection: queries.states_of(connection, ids))
            _refuse_unknown(ids, states)
            for identity, state in states.items():
                if state.is_final:
                    waiter.ended(identity)
            with suppress(TimeoutError):
                async with asyncio.timeout(request.timeout):
                    await waiter.done.wait()
        finally:
            self.waiters.remove(waiter)
        return waiter.answer()

    async def _list(self, request: messages.ListJobs) -> messages.StatusPage:
        graph_id = None if request.graph is None else id_bytes(request.graph, "graph")

        def read(connection: Connection) -> messages.StatusPage:
            graph_key = None if graph_id is None else _graph_key(connection, graph_id)
            keys = queries.list_jobs(connection, request, graph_key)
            detail = Detail(dependencies=request.dependencies, result=False)
            found, rest = queries.status_page(connection, keys[: request.limit], detail)
            shown = len(found)
            following = keys[shown - 1] if rest or len(keys) > request.limit else None
            return messages.StatusPage(jobs=found, next=following)

        page: messages.StatusPage = await self._read(read)
        return page

    async def _graph(self, request: messages.GetGraph) -> messages.GraphStatus:
        identity = id_bytes(request.graph, "graph")

        def read(connection: Connection) -> messages.GraphStatus:
            return queries.graph_status(connection, _graph_key(connection, identity))

        status: messages.GraphStatus = await self._read(read)
        return status

    async def _graphs(self, request: messages.ListGraphs) -> messages.GraphPage:
        def read(connection: Connection) -> messages.GraphPage:
            keys = queries.list_graphs(connection, request.limit, request.before)
            shown = keys[: request.limit]
            return messages.GraphPage(
                graphs=[queries.graph_status(connection, key) for key in shown],
                next=shown[-1] if len(keys) > len(shown) else None,
            )

        page: messages.GraphPage = await self._read(read)
        return page

    async def _explain(self, request: messages.Explain) -> messages.Explanation:
        identity = id_bytes(request.job, "job")
        steps, last = await self._read(lambda connection: _steps(connection, identity))
        status: messages.JobStatus = steps[-1].status
        if status.state in (State.QUEUED, State.RUNNING) and status.type is not None:
            queue = self._names.job_queue(status.type, status.channel)
            depth = await self._depth(queue)
            parked = await self._depth(self._names.parked)
            facts = QueueFacts(
                name=queue,
                consumers=None if depth is None else depth.consumers,
                refusal=self._topology.refusal(queue) if depth is None else None,
                messages=0 if depth is None else depth.messages,
                parked=0 if parked is None else parked.messages,
                is_handed_out=last.is_handed_out,
                ahead_in_line=last.ahead,
            )
            worker = status.worker
            silent = worker is not None and not self.workers.is_known(worker, clock.now())
            steps[-1] = Step(status=status, queue=facts, is_worker_silent=silent)
        return explain(steps, clock.now())

    async def _hello(self, request: messages.Hello) -> messages.Welcome:
        self.workers.greet(request, clock.now())
        pairs = [(kind, channel) for kind in request.types for channel in request.channels]
        wanted = list(dict.fromkeys(pairs))
        if len(wanted) > MAX_HELLO_QUEUES:
            raise Invalid(
                f"types times channels are {len(wanted)} queues, the limit of one worker is "
                f"{MAX_HELLO_QUEUES}; start several workers",
                {"field": "types", "limit": MAX_HELLO_QUEUES},
            )
        if not request.stopping and await self._outbox.declare(wanted, anew=True):
            raise Unavailable(
                "the broker refuses a queue of this worker; the scheduler's log says which and why"
            )

        def read(connection: Connection) -> list[dispatch.LyingJob]:
            return dispatch.lying_jobs(connection, dispatch.queue_keys(connection, set(wanted)))

        lying: list[dispatch.LyingJob] = await self._read(read)
        return messages.Welcome(
            queues=[self._names.job_queue(*queue) for queue in wanted],
            protocol=PROTOCOL_VERSION,
            hello_interval=self._settings.hello_interval,
            lease_after=self._settings.lease_after,
            canceled=[self._tokens.make(job.id, job.handover, job.key) for job in lying],
        )

    async def _workers(self, _request: messages.GetWorkers) -> messages.WorkersPage:
        return messages.WorkersPage(workers=self.workers.listed(clock.now()))

    async def _info(self, _request: messages.GetInfo) -> messages.Info:
        counts = await self._read(queries.job_counts)
        lines = {line[:2]: line for line in await self._read(queries.queue_lines)}
        for served in self.workers.served(clock.now()):
            lines.setdefault(served, queries.QueueLine(*served))
        parked = await self._depth(self._names.parked)
        queues = []
        for _, line in sorted(lines.items()):
            name = self._names.job_queue(line.type, line.channel)
            depth = await self._depth(name)
            queues.append(
                messages.QueueStatus(
                    queue=name,
                    type=line.type,
                    channel=line.channel,
                    in_line=line.in_line,
                    handed_out=line.handed_out,
                    messages=depth.messages if depth else 0,
                    consumers=depth.consumers if depth else 0,
                    refusal=None if depth else self._topology.refusal(name),
                    foreign=self._topology.is_foreign(name),
                    canceled=line.canceled,
                )
            )
        session = await self._outbox.session()
        return messages.Info(
            version=version("broker-queue"),
            protocol=PROTOCOL_VERSION,
            database=str(self._settings.database),
            broker=session.server,
            epoch=self.epoch,
            since=self._since,
            jobs=counts,
            queues=queues,
            parked=parked.messages if parked else 0,
        )

    async def _depth(self, queue: str) -> QueueDepth | None:
        return await self._topology.depth(await self._outbox.session(), queue)


def _known_keys(connection: Connection, ids: list[bytes]) -> list[int]:
    keys = queries.keys_of(connection, ids)
    _refuse_unknown(ids, keys)
    return list(dict.fromkeys(keys[identity] for identity in ids))


def _refuse_unknown(ids: list[bytes], known: dict[bytes, Any]) -> None:
    for position, identity in enumerate(ids):
        if identity not in known:
            raise no_job(f"jobs[{position}]", identity)


def _graph_key(connection: Connection, identity: bytes) -> int:
    key = queries.graph_key(connection, identity)
    if key is None:
        raise no_graph(identity)
    return key


def _steps(connection: Connection, identity: bytes) -> tuple[list[Step], queries.Place]:
    """Return the job, then the one that it waits for or was skipped because of, and so on.

    Of a way that is longer than `MAX_STEPS`, the beginning and the end.
    """
    keys = queries.keys_of(connection, [identity])
    if identity not in keys:
        raise no_job("job", identity)
    key = keys[identity]
    steps: list[Step] = []
    while True:
        step, following = _step(connection, key)
        steps.append(step)
        if following is None:
            return steps, queries.place_in_line(connection, key)
        key = following
        if len(steps) == MAX_STEPS - 1:
            key = queries.end_of_way(connection, key, MAX_WAY)


def _step(connection: Connection, key: int) -> tuple[Step, int | None]:
    """Return a job as a step, and the key of the next one on the way to the root cause."""
    detail = Detail(dependencies=False, result=False)
    status = queries.status_page(connection, [key], detail)[0][0]
    following = None
    open_dependencies: list[tuple[int, OpenDependency]] = []
    count = 0
    if status.state is State.WAITING:
        open_dependencies, count = queries.open_dependencies(connection, key, MAX_EXPLAINED)
        following = open_dependencies[0][0] if open_dependencies else None
    elif status.state is State.SKIPPED:
        following = queries.cause_of(connection, key)
    step = Step(
        status=status,
        open_dependencies=[item for _, item in open_dependencies],
        open_count=count,
        due_at=queries.due_at(connection, key),
    )
    return step, following
