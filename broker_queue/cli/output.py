"""Where results go: one interface, with an implementation for people, programs and shell scripts.

An output decides nothing and calls nothing: commands hand it finished values. Results go to
standard output, everything else to standard error. `TableOutput` is in `tables.py`, since it needs
rich, which programs and scripts shall not wait for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import msgspec

from broker_queue.cli.escaping import error_text, printable
from broker_queue.conformance.verdict import Outcome
from broker_queue.errors import BrokerQueueError, RequestError
from broker_queue.moments import from_milliseconds_or_none
from broker_queue.plain import plain

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from broker_queue.cli.diagnosis import Finding
    from broker_queue.cli.tally import Snapshot
    from broker_queue.conformance.verdict import Rating, Result
    from broker_queue.job import JobId
    from broker_queue.overview import GraphPage, GraphStatus, WorkerStatus
    from broker_queue.protocol import messages
    from broker_queue.status import JobEvent, JobPage, JobStatus


class Format(StrEnum):
    """What a command writes."""

    TABLE = "table"
    JSON = "json"
    QUIET = "quiet"


@dataclass(frozen=True, slots=True)
class RetriedPair:
    """A job and its copy, which was made now or by an earlier retry."""

    job: JobId
    copy: JobStatus
    is_new: bool


class Board(Protocol):
    """What `watch` shows while it runs."""

    def show(self, snapshot: Snapshot) -> None:
        """Show how far everything is."""

    def tell(self, event: JobEvent) -> None:
        """Show one change."""


class Output(Protocol):
    """One method for each thing that is shown."""

    def enqueued(self, job: JobId) -> None: ...
    def submitted(self, answer: messages.Submitted) -> None: ...
    def statuses(self, jobs: Sequence[JobStatus], related: Sequence[JobStatus] = ()) -> None: ...
    def ended(self, jobs: Sequence[JobStatus], related: Sequence[JobStatus] = ()) -> None: ...
    def listed(self, page: JobPage) -> None: ...
    def explained(self, explanation: messages.Explanation, retried_as: JobId | None) -> None: ...
    def canceled(self, answer: messages.CanceledJobs) -> None: ...
    def retried(self, pairs: Sequence[RetriedPair]) -> None: ...
    def graphs(self, page: GraphPage) -> None: ...
    def graph(self, graph: GraphStatus, jobs: Sequence[JobStatus], *, fold: bool) -> None: ...
    def graph_ended(self, graph: GraphStatus, failed: Sequence[JobStatus]) -> None: ...
    def planned(self, jobs: Sequence[messages.NewJob]) -> None: ...
    def text(self, text: str) -> None: ...
    def workers(self, workers: Sequence[WorkerStatus]) -> None: ...
    def findings(self, findings: Sequence[Finding]) -> None: ...
    def facts(self, facts: Mapping[str, str | int]) -> None: ...
    def checked(self, result: Result) -> None: ...
    def rated(self, rating: Rating) -> None: ...
    def board(self) -> AbstractContextManager[Board]: ...
    def note(self, text: str) -> None: ...
    def error(self, error: BrokerQueueError) -> None: ...


def _planned(job: messages.NewJob) -> dict[str, Any]:
    """Return a job as it is submitted, its time as all times are shown."""
    moment = from_milliseconds_or_none(job.available_at)
    return {**plain(job), "available_at": plain(moment)}


def _fields(job: JobStatus, *not_asked_for: str) -> dict[str, Any]:
    """Return a job as JSON, without what was not asked for: null would say that there is none."""
    found: dict[str, Any] = plain(job.to_dict())
    for name in (*not_asked_for, *(["args"] if job.raw_args is None else [])):
        del found[name]
    return found


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class JsonOutput:
    """One JSON document on standard output; what streams is one document a line."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    def enqueued(self, job: JobId) -> None:
        self._write({"id": job})

    def submitted(self, answer: messages.Submitted) -> None:
        self._write(plain(answer))

    def statuses(self, jobs: Sequence[JobStatus], related: Sequence[JobStatus] = ()) -> None:
        self._write({"jobs": [_fields(job) for job in jobs]})

    def ended(self, jobs: Sequence[JobStatus], related: Sequence[JobStatus] = ()) -> None:
        self.statuses(jobs)

    def listed(self, page: JobPage) -> None:
        jobs = [_fields(job, "result", "dependencies") for job in page.jobs]
        self._write({"jobs": jobs, "next": page.next})

    def explained(self, explanation: messages.Explanation, retried_as: JobId | None) -> None:
        self._write({**plain(explanation), "retried_as": retried_as})

    def canceled(self, answer: messages.CanceledJobs) -> None:
        self._write(plain(answer))

    def retried(self, pairs: Sequence[RetriedPair]) -> None:
        self._write(
            {
                "jobs": [
                    {"job": pair.job, "retried_as": pair.copy.id, "new": pair.is_new}
                    for pair in pairs
                ]
            }
        )

    def graphs(self, page: GraphPage) -> None:
        self._write(plain(page))

    def graph(self, graph: GraphStatus, jobs: Sequence[JobStatus], *, fold: bool) -> None:
        self._write({**plain(graph), "jobs": [_fields(job, "result") for job in jobs]})

    def graph_ended(self, graph: GraphStatus, failed: Sequence[JobStatus]) -> None:
        jobs = [_fields(job, "result", "dependencies") for job in failed]
        self._write({**plain(graph), "failed": jobs})

    def planned(self, jobs: Sequence[messages.NewJob]) -> None:
        self._write({"jobs": [_planned(job) for job in jobs]})

    def text(self, text: str) -> None:
        self._write({"text": text})

    def workers(self, workers: Sequence[WorkerStatus]) -> None:
        self._write({"workers": [plain(worker) for worker in workers]})

    def findings(self, findings: Sequence[Finding]) -> None:
        fields = ("verdict", "subject", "text", "advice")
        self._write(
            {"findings": [{name: getattr(item, name) for name in fields} for item in findings]}
        )

    def facts(self, facts: Mapping[str, str | int]) -> None:
        self._write(dict(facts))

    def checked(self, result: Result) -> None:
        """Results come together, with the rating."""

    def rated(self, rating: Rating) -> None:
        results = [plain(asdict(result)) for result in rating.results]
        self._write({"type": rating.job_type, "level": rating.level, "checks": results})

    def board(self) -> AbstractContextManager[Board]:
        return LineBoard(self._line)

    def note(self, text: str) -> None:
        """Programs read no remarks."""

    def error(self, error: BrokerQueueError) -> None:
        body: dict[str, Any] = {"message": str(error), "details": {}}
        body["code"] = getattr(error, "code", None) or type(error).__name__
        if isinstance(error, RequestError):
            body["details"] = error.details
        print(_json({"error": body}), file=self._err, flush=True)

    def _write(self, value: Any) -> None:
        text = msgspec.json.encode(value)
        if self._out.isatty():
            text = msgspec.json.format(text, indent=2)
        print(text.decode(), file=self._out, flush=True)

    def _line(self, event: JobEvent) -> None:
        print(_json(plain(event)), file=self._out, flush=True)


class QuietOutput:
    """Only what a shell script would read, one a line: ids of what was made, states, results."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    def enqueued(self, job: JobId) -> None:
        self._write(job)

    def submitted(self, answer: messages.Submitted) -> None:
        self._write(answer.graph or "")

    def statuses(self, jobs: Sequence[JobStatus], related: Sequence[JobStatus] = ()) -> None:
        self._write(*(job.state.value for job in jobs))

    def ended(self, jobs: Sequence[JobStatus], related: Sequence[JobStatus] = ()) -> None:
        """Print the results; of several, an empty line for a job that has none."""
        if len(jobs) > 1 or jobs[0].raw_result is not None:
            self._write(*((job.raw_result or b"").decode() for job in jobs))

    def listed(self, page: JobPage) -> None:
        self._write(*(job.id for job in page.jobs))

    def explained(self, explanation: messages.Explanation, retried_as: JobId | None) -> None:
        self._write(printable(explanation.summary))

    def canceled(self, answer: messages.CanceledJobs) -> None:
        self._write(str(answer.canceled))

    def retried(self, pairs: Sequence[RetriedPair]) -> None:
        self._write(*(pair.copy.id for pair in pairs))

    def graphs(self, page: GraphPage) -> None:
        self._write(*(graph.id for graph in page.graphs))

    def graph(self, graph: GraphStatus, jobs: Sequence[JobStatus], *, fold: bool) -> None:
        self._write(*(job.id for job in jobs))

    def graph_ended(self, graph: GraphStatus, failed: Sequence[JobStatus]) -> None:
        self._write(*(job.id for job in failed))

    def planned(self, jobs: Sequence[messages.NewJob]) -> None:
        """Exit code 0 says that the file is good."""

    def text(self, text: str) -> None:
        self._write(text)

    def workers(self, workers: Sequence[WorkerStatus]) -> None:
        self._write(*(printable(worker.worker) for worker in workers))

    def findings(self, findings: Sequence[Finding]) -> None:
        """Say only what is wrong: nothing when all is well."""
        for finding in findings:
            if finding.verdict == "problem":
                self._write(printable(f"{finding.subject}: {finding.text}"))

    def facts(self, facts: Mapping[str, str | int]) -> None:
        self._write(str(next(iter(facts.values()), "")))

    def checked(self, result: Result) -> None:
        """A script reads the level, or of some checks, whether none has failed."""

    def rated(self, rating: Rating) -> None:
        some = "failed" if rating.count(Outcome.FAILED) else "passed"
        self._write(some if rating.level is None else str(rating.level))

    def board(self) -> AbstractContextManager[Board]:
        return LineBoard(lambda event: self._write(f"{event.job} {event.state.value}"))

    def note(self, text: str) -> None:
        """Scripts read no remarks."""

    def error(self, error: BrokerQueueError) -> None:
        print(f"Error: {error_text(error)}", file=self._err, flush=True)

    def _write(self, *lines: str) -> None:
        for line in lines:
            print(line, file=self._out, flush=True)


@dataclass(slots=True)
class LineBoard:
    """A board that only tells the changes, one a line."""

    write: Callable[[JobEvent], None]

    def __enter__(self) -> LineBoard:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def show(self, snapshot: Snapshot) -> None:
        """Numbers are for people; programs count the changes."""

    def tell(self, event: JobEvent) -> None:
        self.write(event)
