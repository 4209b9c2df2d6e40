"""`JobQueue` for blocking code: scripts, notebooks, Django. The asyncio one runs in a thread.

Each method hands its call to that thread and waits. Docstrings are those of the asyncio class, so
that the two cannot drift apart.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from broker_queue import client
from broker_queue.errors import Unavailable
from broker_queue.graph import Dependable, Graph, JobOptions, ResultReference
from broker_queue.job import FailureCode, GraphLike, JobId, JobLike, State
from broker_queue.job_message import DequeuedJob
from broker_queue.overview import GraphPage, GraphStatus, Info, WorkerList
from broker_queue.protocol import messages
from broker_queue.status import JobEvent, JobPage, JobStatus, StatusList

T = TypeVar("T")
C = TypeVar("C")


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        begun: Future[asyncio.AbstractEventLoop] = Future()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(begun)), name="broker-queue", daemon=True
        )
        self._thread.start()
        self._loop = begun.result()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` there and return its result; an interrupt here cancels it there."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancel what still runs there, and end the thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _serve(self, begun: Future[asyncio.AbstractEventLoop]) -> None:
        begun.set_result(asyncio.get_running_loop())
        await self._stopped.wait()


def _documented(cls: type[C]) -> type[C]:
    """Give each method the docstring of the asyncio method of the same name."""
    for name, method in vars(cls).items():
        original = getattr(client.JobQueue, name, None)
        if not name.startswith("_") and original is not None:
            method.__doc__ = original.__doc__
    return cls


@_documented
class JobQueue:
    """A connection to the scheduler of one namespace, for blocking code.

    Use it as a context manager, or call `connect` and `close`. It may be used by many threads at
    once, but not by a process that was forked from the one that connected. Arguments, results and
    errors are those of `broker_queue.JobQueue`.

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
        self._queue = client.JobQueue(url, namespace=namespace, timeout=timeout, name=name)
        self._thread: _LoopThread | None = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def connect(self) -> None:
        if self._thread is None:
            self._thread = _LoopThread()
        try:
            self._call(self._queue.connect())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._thread is None:
            return
        try:
            self._call(self._queue.close())
        finally:
            self._thread.stop()
            self._thread = None

    def enqueue(
        self,
        type: str | None,  # noqa: A002  # the protocol's word
        args: Any = None,
        dependencies: Iterable[Dependable] = (),
        **options: Unpack[JobOptions],
    ) -> JobId:
        return self._call(self._queue.enqueue(type, args, dependencies, **options))

    def submit(self, graph: Graph) -> messages.Submitted:
        return self._call(self._queue.submit(graph))

    def add_dependencies(
        self,
        job: JobLike,
        dependencies: Iterable[Dependable] = (),
        references: Mapping[str, ResultReference] | None = None,
    ) -> None:
        self._call(self._queue.add_dependencies(job, dependencies, references))

    def job_status(self, job: JobLike, *, args: bool = False) -> JobStatus:
        return self._call(self._queue.job_status(job, args=args))

    def job_statuses(
        self,
        jobs: JobLike | Graph | Iterable[JobLike],
        *,
        dependencies: bool = False,
        args: bool = False,
        result: bool = True,
    ) -> StatusList:
        return self._call(
            self._queue.job_statuses(jobs, dependencies=dependencies, args=args, result=result)
        )

    def list(
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
        return self._call(
            self._queue.list(
                states=states,
                type=type,
                channel=channel,
                graph=graph,
                name=name,
                limit=limit,
                before=before,
                dependencies=dependencies,
            )
        )

    @overload
    def wait(  # type: ignore[overload-overlap]  # a graph has an id, too
        self, job: Graph, *, timeout: float | timedelta | None = None
    ) -> StatusList: ...

    @overload
    def wait(  # type: ignore[overload-overlap]  # an id is an iterable of strings, too
        self, job: JobLike, *, timeout: float | timedelta | None = None
    ) -> JobStatus: ...

    @overload
    def wait(
        self, job: Iterable[JobLike], *, timeout: float | timedelta | None = None
    ) -> StatusList: ...

    def wait(
        self,
        job: JobLike | Graph | Iterable[JobLike],
        *,
        timeout: float | timedelta | None = None,
    ) -> JobStatus | StatusList:
        waiting: Coroutine[Any, Any, JobStatus | StatusList] = self._queue.wait(
            job, timeout=timeout
        )
        return self._call(waiting)

    @overload
    def result(
        self, job: JobLike, *, timeout: float | timedelta | None = None, model: type[T]
    ) -> T: ...

    @overload
    def result(
        self, job: JobLike, *, timeout: float | timedelta | None = None, model: None = None
    ) -> Any: ...

    def result(
        self,
        job: JobLike,
        *,
        timeout: float | timedelta | None = None,
        model: type[T] | None = None,
    ) -> T | Any:
        return self._call(self._queue.result(job, timeout=timeout, model=model))

    def cancel_job(
        self, job: JobLike, *, dependents: bool = False, reason: str | None = None
    ) -> messages.CanceledJobs:
        return self._call(self._queue.cancel_job(job, dependents=dependents, reason=reason))

    def cancel_graph(self, graph: GraphLike, *, reason: str | None = None) -> messages.CanceledJobs:
        return self._call(self._queue.cancel_graph(graph, reason=reason))

    def retry(self, *jobs: JobLike) -> dict[JobId, JobId]:
        return self._call(self._queue.retry(*jobs))

    def retry_graph(self, graph: GraphLike) -> dict[JobId, JobId]:
        return self._call(self._queue.retry_graph(graph))

    def explain(self, job: JobLike) -> messages.Explanation:
        return self._call(self._queue.explain(job))

    def graph(self, graph: GraphLike) -> GraphStatus:
        return self._call(self._queue.graph(graph))

    def graphs(self, limit: int = 50, before: int | None = None) -> GraphPage:
        return self._call(self._queue.graphs(limit, before))

    def watch(
        self, *jobs: JobLike, graph: GraphLike | None = None
    ) -> Generator[JobEvent, None, None]:
        return self._iterate(self._queue.watch(*jobs, graph=graph))

    def dequeue(
        self,
        types: str | Iterable[str],
        *,
        channels: Iterable[str] = ("",),
        timeout: float | timedelta | None = None,
    ) -> DequeuedJob:
        return self._call(self._queue.dequeue(types, channels=channels, timeout=timeout))

    def finish_job(self, job: DequeuedJob | JobLike, result: Any = None) -> None:
        self._call(self._queue.finish_job(job, result))

    def fail_job(
        self,
        job: DequeuedJob | JobLike,
        message: str,
        code: str = FailureCode.FAILED,
        retry: bool = True,
    ) -> None:
        self._call(self._queue.fail_job(job, message, code, retry))

    def workers(self) -> WorkerList:
        return self._call(self._queue.workers())

    def info(self) -> Info:
        return self._call(self._queue.info())

    def _iterate(self, events: AsyncGenerator[JobEvent, None]) -> Generator[JobEvent, None, None]:
        async def following() -> JobEvent | None:
            return await anext(events, None)

        try:
            while (event := self._call(following())) is not None:
                yield event
        finally:
            self._call(events.aclose())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        if self._thread is None:
            work.close()
            raise Unavailable("not connected: use 'with JobQueue(...)' or call connect() first")
        return self._thread.call(work)
