"""`JobQueue`: everything that a program can ask of the scheduler, with asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from broker_queue.address import resolve
from broker_queue.dequeue import Dequeuing
from broker_queue.enqueuing import Enqueuing
from broker_queue.errors import Unavailable, perhaps_stored
from broker_queue.graph import (
    Dependable,
    Graph,
    JobOptions,
    ResultReference,
    graph_id_of,
    job_id_of,
    new_job,
)
from broker_queue.job import FailureCode, GraphLike, JobId, JobLike, State
from broker_queue.job_message import DequeuedJob
from broker_queue.moments import to_seconds
from broker_queue.overview import GraphPage, GraphStatus, Info, WorkerList, WorkerStatus
from broker_queue.parts import in_parts
from broker_queue.protocol import messages
from broker_queue.requests import Requests
from broker_queue.status import JobEvent, JobPage, JobStatus, StatusList, from_page
from broker_queue.waiting import MAX_IDS, wait_for_end
from broker_queue.watch import Watching

T = TypeVar("T")
M = TypeVar("M", bound=messages.Message)

SUBMIT_ROUNDS = 3
"""How often all parts of a submit are sent: once, and again if the answer to the last was lost."""


class JobQueue:
    """A connection to the scheduler of one namespace.

    Use it as a context manager, or call `connect` and `close`. It may be used by many tasks at
    once. All calls may be repeated after `Unavailable`, and none then counts twice; an `enqueue` is
    repeated with the id that the error names.

    Where a job is wanted, its id does, or anything that has it as ``id``: a handle of a graph, a
    status, a dequeued job. A graph, or many jobs, there are a TypeError that says what takes them.

    Args:
        url: ``amqp://user:password@host:port/vhost``, ``amqps://`` for TLS; else the environment's
            ``BROKER_QUEUE_URL``, else a local RabbitMQ.
        namespace: of the scheduler; else ``BROKER_QUEUE_NAMESPACE``, else ``bq``.
        timeout: seconds within which the scheduler must answer.
        name: shown on the broker's management page, and in `workers` if it dequeues.

    Raises:
        ConfigurationError: the URL or the namespace cannot work.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        timeout: float = 30.0,
        name: str = "client",
    ) -> None:
        address = resolve(url, namespace)
        self._timeout = timeout
        self._requests = Requests(address.url, address.names, name=name)
        self._enqueuing = Enqueuing(self._requests, timeout)
        self._dequeuing = Dequeuing(self._requests, name, timeout)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect to the broker; from then on the connection is kept up.

        Raises:
            Unavailable: it cannot be reached; the text says why.
        """
        await self._requests.connect(self._timeout)

    async def close(self) -> None:
        """Hand back jobs that were dequeued and not finished, and close the connection."""
        await self._dequeuing.close()
        await self._requests.close()

    async def enqueue(
        self,
        type: str | None,  # noqa: A002  # the protocol's word
        args: Any = None,
        dependencies: Iterable[Dependable] = (),
        **options: Unpack[JobOptions],
    ) -> JobId:
        """Enqueue one job and return its id; it is stored by then.

        Args:
            type: names the queue and so the workers; None makes a milestone.
            args: anything that serialises to JSON; a `ResultReference` inside is a dependency too.
            dependencies: jobs that must end first; each must exist already.
            options: ``id``, ``name``, ``channel``, ``priority``, ``max_attempts``, ``backoff``,
                ``timeout``, ``delay``, ``available_at``, ``traceparent``: see
                `broker_queue.graph.new_job`.

        Raises:
            NotExist: a dependency was never enqueued.
            Invalid: the args have no JSON form, or an option is out of bounds.
            TypeError: there is no such option.
            Conflict: the id was used before, for another job.
            Unavailable: nobody answered; whether it is stored is unknown. Repeat the call with the
                `id` in ``details["job"]``: if it is stored already, that changes nothing.
        """
        job = new_job(type, args, dependencies=dependencies, **options)
        try:
            await self._enqueuing.enqueue(job)
        except Unavailable as error:
            raise perhaps_stored(error, "job", job.id, f'the call with id="{job.id}"') from error
        return JobId(job.id)

    async def submit(self, graph: Graph) -> messages.Submitted:
        """Submit all jobs of a graph: all of them exist from then on, or none.

        Submitting the same graph again changes nothing; what was added to it since is added.

        Raises:
            NotExist: a dependency outside the graph was never enqueued.
            Cycle: jobs would wait for each other.
            Invalid: something else is wrong; ``details["field"]`` says where.
            Conflict: an id was used before for another job, or a job to be extended was handed out.
            Unavailable: nobody answered; whether it is stored is unknown. Submit this graph again.
        """
        parts = in_parts(graph.to_message())
        for _ in range(SUBMIT_ROUNDS):
            for part in parts:
                submitted = await self._ask("submit", part, messages.Submitted)
            if submitted.complete:
                return submitted
        raise Unavailable("the parts of the graph were not put together; submit it again")

    async def add_dependencies(
        self,
        job: JobLike,
        dependencies: Iterable[Dependable] = (),
        references: Mapping[str, ResultReference] | None = None,
    ) -> None:
        """Make a job wait for more; possible as long as it was not handed out.

        Args:
            job: a job that exists already.
            dependencies: jobs that exist already.
            references: JSON pointer into its args → the result to be put there.

        Raises:
            Conflict: it was handed out, or has ended, already.
            Cycle: jobs would wait for each other.
            NotExist: there is no such job.
        """
        graph = Graph()
        graph.extend(job, dependencies, references)
        await self._ask("add_dependencies", graph.extensions[0], messages.Submitted)

    async def job_status(self, job: JobLike, *, args: bool = False) -> JobStatus:
        """Return everything that is known of a job.

        Args:
            job: the job.
            args: return its args too.

        Raises:
            NotExist: there is no such job.
        """
        return (await self.job_statuses([job], args=args))[0]

    async def job_statuses(
        self,
        jobs: JobLike | Graph | Iterable[JobLike],
        *,
        dependencies: bool = False,
        args: bool = False,
        result: bool = True,
    ) -> StatusList:
        """Return the status of many jobs, in the order given.

        Args:
            jobs: any number of them. A `Graph` stands for the jobs in it.
            dependencies: return everything that they depend on as well, after them; each job once.
            args: return their args too.
            result: False leaves out results, which may be long.

        Raises:
            NotExist: there is no such job.
        """
        wanted, _ = _named(jobs)
        found: dict[str, JobStatus] = {}
        pending: Sequence[str] = list(dict.fromkeys(wanted))
        while pending:
            request = messages.GetStatus(
                jobs=list(pending[:MAX_IDS]), dependencies=dependencies, args=args, result=result
            )
            page = await self._ask("status", request, messages.StatusPage)
            found.update((status.id, status) for status in from_page(page))
            following = dict.fromkeys((*pending[MAX_IDS:], *page.more))
            pending = [job for job in following if job not in found]
        if dependencies:
            return [*(found.pop(job) for job in dict.fromkeys(wanted)), *found.values()]
        return [found[job] for job in wanted]

    async def list(
        self,
        *,
        states: Iterable[State] = (),
        type: str | None = None,  # noqa: A002  # the protocol's word
        channel: str | None = None,
        graph: GraphLike | None = None,
        name: str | None = None,
        limit: int = 50,
        before: int | None = None,
        dependencies: bool = False,
    ) -> JobPage:
        """Return one page of the jobs that match, newest first, without results.

        Args:
            states: any of these; empty means all.
            type: of this type.
            channel: of this channel.
            graph: of this graph.
            name: with exactly this name.
            limit: jobs on the page, at most 1,000.
            before: the `next` of the page before.
            dependencies: list what each depends on.
        """
        request = messages.ListJobs(
            states=[State(state) for state in states],
            type=type,
            channel=channel,
            graph=None if graph is None else graph_id_of(graph),
            name=name,
            limit=limit,
            before=before,
            dependencies=dependencies,
        )
        page = await self._ask("list", request, messages.StatusPage)
        return JobPage(from_page(page), page.next)

    @overload  # a graph has an id, too
    async def wait(  # type: ignore[overload-overlap]
        self, job: Graph, *, timeout: float | timedelta | None = None
    ) -> StatusList: ...

    @overload  # an id is an iterable of strings, too
    async def wait(  # type: ignore[overload-overlap]
        self, job: JobLike, *, timeout: float | timedelta | None = None
    ) -> JobStatus: ...

    @overload
    async def wait(
        self, job: Iterable[JobLike], *, timeout: float | timedelta | None = None
    ) -> StatusList: ...

    async def wait(
        self,
        job: JobLike | Graph | Iterable[JobLike],
        *,
        timeout: float | timedelta | None = None,
    ) -> JobStatus | StatusList:
        """Wait until a job has ended, in whatever way, and return its final status.

        It goes on through restarts of the scheduler and the broker.

        Args:
            job: a job, or many: then their statuses are returned in the order given. A `Graph`
                stands for the jobs in it.
            timeout: seconds, or a timedelta; None waits as long as it takes.

        Raises:
            TimeoutError: it has not ended in time.
            NotExist: there is no such job.
        """
        ids, is_one = _named(job)
        await wait_for_end(self._requests, ids, timeout=to_seconds(timeout), patience=self._timeout)
        found = await self.job_statuses(ids)
        return found[0] if is_one else found

    @overload
    async def result(
        self, job: JobLike, *, timeout: float | timedelta | None = None, model: type[T]
    ) -> T: ...

    @overload
    async def result(
        self, job: JobLike, *, timeout: float | timedelta | None = None, model: None = None
    ) -> Any: ...

    async def result(
        self,
        job: JobLike,
        *,
        timeout: float | timedelta | None = None,
        model: type[T] | None = None,
    ) -> T | Any:
        """Wait until a job has finished and return its result, parsed.

        Args:
            job: the job.
            timeout: seconds, or a timedelta; None waits as long as it takes.
            model: a pydantic model, or any type that pydantic knows, to parse the result as.

        Raises:
            JobNotFinished: it failed, was skipped or was canceled.
            TimeoutError: it has not ended in time.
            NotExist: there is no such job.
        """
        status = await self.wait(job_id_of(job), timeout=timeout)
        status.raise_unless_finished()
        if model is None:
            return status.result
        from pydantic import TypeAdapter  # slow to import, and few need it

        return TypeAdapter(model).validate_json(status.raw_result or b"null")

    async def cancel_job(
        self, job: JobLike, *, dependents: bool = False, reason: str | None = None
    ) -> messages.CanceledJobs:
        """Cancel a job; one that has ended stays as it is.

        It is canceled for good when this returns: if it was queued it never starts, if it was
        running its worker is told to stop and what it still reports is discarded.

        Args:
            job: the job.
            dependents: cancel everything that depends on it too; else that is skipped.
            reason: for people, shown in the status.

        Raises:
            NotExist: there is no such job.
        """
        request = messages.Cancel(jobs=[job_id_of(job)], dependents=dependents, reason=reason)
        return await self._ask("cancel", request, messages.CanceledJobs)

    async def cancel_graph(
        self, graph: GraphLike, *, reason: str | None = None
    ) -> messages.CanceledJobs:
        """Cancel all jobs of a graph that have not ended; see `cancel_job`.

        Raises:
            NotExist: there is no such graph.
        """
        request = messages.Cancel(graph=graph_id_of(graph), reason=reason)
        return await self._ask("cancel", request, messages.CanceledJobs)

    async def retry(self, *jobs: JobLike) -> dict[JobId, JobId]:
        """Enqueue copies of failed or canceled jobs and of all that was skipped because of them.

        Return the copy of each. The originals stay as they are; retrying them again changes
        nothing.

        Raises:
            Conflict: one of them did not fail.
            NotExist: there is no such job.
        """
        return await self._retry(messages.Retry(jobs=[job_id_of(job) for job in jobs]))

    async def retry_graph(self, graph: GraphLike) -> dict[JobId, JobId]:
        """Retry all failed and canceled jobs of a graph; see `retry`.

        Raises:
            Conflict: none of its jobs failed.
            NotExist: there is no such graph.
        """
        return await self._retry(messages.Retry(graph=graph_id_of(graph)))

    async def explain(self, job: JobLike) -> messages.Explanation:
        """Say what a job waits for, or why it ended as it did, step by step to the root cause.

        Raises:
            NotExist: there is no such job.
        """
        request = messages.Explain(job=job_id_of(job))
        return await self._ask("explain", request, messages.Explanation)

    async def graph(self, graph: GraphLike) -> GraphStatus:
        """Return how many jobs of a graph are in which state, by type.

        Raises:
            NotExist: there is no such graph.
        """
        request = messages.GetGraph(graph=graph_id_of(graph))
        return GraphStatus.from_message(await self._ask("graph", request, messages.GraphStatus))

    async def graphs(self, limit: int = 50, before: int | None = None) -> GraphPage:
        """Return one page of all graphs, newest first; `before` is the `next` of the page before."""
        request = messages.ListGraphs(limit=limit, before=before)
        return GraphPage.from_message(await self._ask("graphs", request, messages.GraphPage))

    def watch(
        self, *jobs: JobLike, graph: GraphLike | None = None
    ) -> AsyncGenerator[JobEvent, None]:
        """Yield the present state of each job, then every change and progress, until all have ended.

        Nothing is missed between the two and nothing comes twice; a final state is never missed.
        What lies between may be, when the connection was lost or the broker was overloaded.

        Args:
            jobs: jobs to watch.
            graph: watch all jobs of a graph, also those that are added meanwhile.

        Raises:
            NotExist: there is no such job or graph.
            Invalid: nothing was named.
        """
        ids = [job_id_of(job) for job in jobs]
        graph_id = None if graph is None else graph_id_of(graph)
        return Watching(self._requests, ids, graph_id, self._timeout).events()

    async def dequeue(
        self,
        types: str | Iterable[str],
        *,
        channels: Iterable[str] = ("",),
        timeout: float | timedelta | None = None,
    ) -> DequeuedJob:
        """Wait until a job of one of the types is available, and return it as running.

        Finish it with `finish_job` or `fail_job`. Until then it is nobody else's, unless this
        program or its connection dies: then the broker gives it to another. A dequeue that is
        canceled or timed out holds no job back.

        A `Worker` does all this in a loop, faster; `dequeue` is for programs that want one job.

        Args:
            types: job types.
            channels: take jobs of these channels only.
            timeout: seconds, or a timedelta; None waits as long as it takes.

        Raises:
            TimeoutError: there was none in time.
            Invalid: no type, or no name of a type.
        """
        return await self._dequeuing.dequeue(
            [types] if isinstance(types, str) else list(types),
            list(channels),
            timeout=to_seconds(timeout),
        )

    async def finish_job(self, job: DequeuedJob | JobLike, result: Any = None) -> None:
        """Mark a dequeued job as finished; its result is stored when this returns.

        Args:
            job: what `dequeue` returned, or its id.
            result: anything that serialises to JSON.

        Raises:
            NotExist: there is no such job.
            NotRunning: it is not running here: never dequeued here, finished before, timed out.
            Canceled: it was canceled; the result is discarded.
            Invalid: the result has no JSON form, or is too large: then the job has failed.
        """
        await self._dequeuing.finish(job, result)

    async def fail_job(
        self,
        job: DequeuedJob | JobLike,
        message: str,
        code: str = FailureCode.FAILED,
        retry: bool = True,
    ) -> None:
        """Say that this attempt of a dequeued job failed.

        Args:
            job: what `dequeue` returned, or its id.
            message: for people.
            code: for programs.
            retry: False ends the job now, whatever attempts are left.

        Raises:
            NotExist: there is no such job.
            NotRunning: it is not running here.
            Canceled: it was canceled.
        """
        await self._dequeuing.fail(job, message, code=code, retry=retry)

    async def workers(self) -> WorkerList:
        """Return the workers that said hello in the last minutes."""
        page = await self._ask("workers", messages.GetWorkers(), messages.WorkersPage)
        return [WorkerStatus.from_message(worker) for worker in page.workers]

    async def info(self) -> Info:
        """Return versions, counts of jobs by state, and the state of every queue."""
        return Info.from_message(await self._ask("info", messages.GetInfo(), messages.Info))

    async def _retry(self, request: messages.Retry) -> dict[JobId, JobId]:
        retried = await self._ask("retry", request, messages.Retried)
        return {JobId(item.job): JobId(item.retried_as) for item in retried.jobs}

    async def _ask(self, operation: str, body: messages.Message, answer: type[M]) -> M:
        return await self._requests.ask(operation, body, answer, timeout=self._timeout)


def _named(jobs: JobLike | Graph | Iterable[JobLike]) -> tuple[Sequence[JobId], bool]:
    """Return the ids of the jobs, and whether one job was named rather than several."""
    if isinstance(jobs, Graph):
        return [JobId(job.id) for job in jobs.jobs], False
    if isinstance(jobs, str) or not isinstance(jobs, Iterable):
        return [job_id_of(jobs)], True
    return [job_id_of(job) for job in jobs], False
