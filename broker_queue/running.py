"""One delivered job while it runs: what its function is given, and what comes of it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, Unpack

from msgspec import UNSET, Raw

from broker_queue.errors import Canceled, Invalid, JobError
from broker_queue.graph import Dependable, Graph, JobHandle, JobOptions, ResultReference
from broker_queue.handler import Handler
from broker_queue.job import FailureCode, JobLike
from broker_queue.job_message import DequeuedJob
from broker_queue.moments import to_seconds
from broker_queue.protocol import messages, reports
from broker_queue.protocol.codec import to_json
from broker_queue.protocol.fields import TEN_YEARS

TRACEBACK_BYTES = 8_000
"""The end of a traceback, which names the place, is kept."""

PROGRESS_PAUSE = 0.2
"""Seconds between two progress reports of one job; the last word wins."""


class Outcome(NamedTuple):
    """What came of an attempt: a report's type and body."""

    kind: str
    body: bytes


class _Done:
    """What `Job.progress` returns, so that it may be awaited or not."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class Job:
    """The job that a function works on.

    Attributes:
        id: its id; the same at every attempt, so it serves as a key for idempotent effects.
        attempt: number of this attempt, from 1.
        raw_args: JSON text of the args.
        dependencies: ids of the jobs it depended on; empty when there are very many.
        dependency_count: how many there are.
        timeout: seconds that this attempt may take, or None.
        traceparent: the trace that it belongs to, as it was enqueued (W3C Trace Context).
    """

    def __init__(self, message: DequeuedJob, report_progress: Callable[[bytes], None]) -> None:
        self.id = message.id
        self.type = message.type
        self.name = message.name
        self.channel = message.channel
        self.graph = message.graph
        self.attempt = message.attempt
        self.max_attempts = message.max_attempts
        self.timeout = message.timeout
        self.dependencies = message.dependencies
        self.dependency_count = message.dependency_count
        self.traceparent = message.traceparent
        self.raw_args = message.raw_args
        self._report_progress = report_progress
        self._loop = asyncio.get_running_loop()
        self._is_canceled = False
        self._grown: Graph | None = None

    @property
    def result(self) -> ResultReference:
        """This job's own result, for the args of jobs that it adds."""
        return ResultReference(self.id)

    @property
    def canceled(self) -> bool:
        """Whether this attempt should stop: canceled, over its time, or the worker stops.

        A coroutine is stopped by itself; a plain function looks here now and then.
        """
        return self._is_canceled

    def raise_if_canceled(self) -> None:
        """Stop a plain function whose work nobody wants any more.

        Raises:
            Canceled: it should stop.
        """
        if self.canceled:
            raise Canceled("this attempt was stopped")

    def progress(
        self, fraction: float | None = None, message: str | None = None, data: Any = None
    ) -> Awaitable[None]:
        """Say how far it is; with or without ``await``, from coroutines and from threads.

        Args:
            fraction: 0 to 1.
            message: for people, at most 1,000 characters.
            data: anything that serialises to JSON.

        Raises:
            Invalid: `data` has no JSON form.
        """
        body = messages.encode(
            reports.Progressed(
                fraction=None if fraction is None else min(max(float(fraction), 0.0), 1.0),
                message=None if message is None else message[:1_000],
                data=UNSET if data is None else Raw(to_json(data, "data")),
            )
        )
        self._loop.call_soon_threadsafe(self._report_progress, body)
        return _Done()

    def add(
        self,
        type: str,  # noqa: A002  # the protocol's word
        args: Any = None,
        dependencies: Iterable[Dependable] = (),
        **options: Unpack[JobOptions],
    ) -> JobHandle:
        """Enqueue a job together with this one's result: both happen, or neither.

        Takes what `Graph.add` takes. The new job belongs to this job's graph.
        """
        return self._growth().add(type, args, dependencies, **options)

    def milestone(
        self, dependencies: Iterable[Dependable], *, name: str | None = None
    ) -> JobHandle:
        """Add a milestone together with this job's result, see `Graph.milestone`."""
        return self._growth().milestone(dependencies, name=name)

    def extend(
        self,
        job: JobLike,
        dependencies: Iterable[Dependable] = (),
        references: Mapping[str, ResultReference] | None = None,
    ) -> None:
        """Let a job that waits wait for more, together with this job's result.

        See `Graph.extend`. A job that depends on this one is sure to be waiting still.
        """
        self._growth().extend(job, dependencies, references)

    def finished(self, result: bytes) -> Outcome:
        """Return the report of a result and of the jobs that were added."""
        grown = self._grown
        if grown is None or not (grown.jobs or grown.extensions):
            return Outcome("finished", result)
        submit = grown.to_message()
        body = reports.FinishedWithJobs(result=Raw(result), jobs=submit.jobs, extend=submit.extend)
        return Outcome("finished_with_jobs", messages.encode(body))

    def _growth(self) -> Graph:
        if self._grown is None:
            self._grown = Graph()
        return self._grown

    def stop(self) -> None:
        """Tell a plain function to stop."""
        self._is_canceled = True


async def attempt(handler: Handler, job: Job, max_result: int) -> Outcome:
    """Run one attempt and return what to report; only cancellation is raised."""
    try:
        keywords = handler.read(bytes(job.raw_args), job)
        async with asyncio.timeout(job.timeout):
            call = (
                handler.function(**keywords)
                if handler.is_async
                else in_thread(handler.function, keywords)
            )
            result = await call
        text = handler.write(result)
        if len(text) > max_result:
            raise JobError(
                f"the result has {len(text)} bytes, the limit is {max_result}; "
                "return a URL or key to large data instead of the data",
                code=FailureCode.INVALID_RESULT,
                retry=False,
            )
        return job.finished(text)
    except TimeoutError as error:
        job.stop()
        if job.timeout is None:
            return failed(error)
        return failed(JobError(f"ran longer than its {job.timeout:g} s", code=FailureCode.TIMEOUT))
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return failed(error)  # whatever a job function raises is this job's failure


async def in_thread(function: Callable[..., Any], keywords: dict[str, Any]) -> Any:
    """Run a plain function in a thread of its own and return its result.

    Whoever is canceled here leaves the thread behind: Python cannot stop it. The thread does not
    keep the process alive.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = context.run(function, **keywords)
        except StopIteration as error:  # a future does not take it
            failure = RuntimeError(f"StopIteration: {error}")
        except BaseException as error:  # carried over to the waiting coroutine
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=f"job {function.__name__}", daemon=True).start()
    return await done


def failed(error: BaseException) -> Outcome:
    """Return the report of a failure, whatever the error holds."""
    if isinstance(error, JobError):
        body = reports.Failed(
            code=_text(error.code, 200) or FailureCode.FAILED,
            message=_text(error.message, 20_000),
            details=UNSET if error.details is None else _details(error.details),
            retry=bool(error.retry),
            delay=_delay(error.delay),
        )
        return Outcome("failed", messages.encode(body))
    lines = _text("".join(traceback.format_exception(error))[-TRACEBACK_BYTES:], TRACEBACK_BYTES)
    body = reports.Failed(
        code=type(error).__name__[:200],
        message=_text(error, 20_000) or type(error).__name__,
        details=_details({"traceback": lines}),
    )
    return Outcome("failed", messages.encode(body))


def _text(value: Any, length: int) -> str:
    """Return text that can be sent: file names may hold halves of surrogate pairs."""
    return str(value).encode(errors="backslashreplace").decode()[:length]


def _delay(delay: timedelta | float | None) -> float | None:
    seconds = to_seconds(delay)
    return None if seconds is None else min(max(seconds, 0.0), TEN_YEARS)


def _details(value: Any) -> Raw:
    try:
        return Raw(to_json(value, "details"))
    except Invalid as error:
        shown = {"problem": _text(error.message, 1_000), "repr": _text(repr(value), 1_000)}
        return Raw(to_json(shown))
