"""A scheduler's answers without a scheduler, and jobs to be shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from broker_queue.cli import main
from broker_queue.cli.invocation import Invocation
from broker_queue.errors import NotExist
from broker_queue.job import GraphId, JobId, State
from broker_queue.overview import GraphPage, GraphStatus, WorkerStatus
from broker_queue.protocol import messages
from broker_queue.status import JobEvent, JobPage, JobStatus

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


def job_id(number: int) -> JobId:
    return JobId(f"01990000-0000-7000-8000-{number:012}")


def graph_id(number: int) -> GraphId:
    return GraphId(job_id(900 + number))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def job(number: int, state: State, **fields: Any) -> JobStatus:
    fields.setdefault("queued", ago(200))
    fields.setdefault("type", "build")
    return JobStatus(id=job_id(number), state=state, **fields)


@dataclass
class FakeQueue:
    """Stands in for `JobQueue`: answers from `jobs`, and records what it was asked."""

    jobs: list[JobStatus] = field(default_factory=list)
    graph_status: GraphStatus | None = None
    events: list[JobEvent] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    error: Exception | None = None
    """Raised by connecting."""
    unanswered: Exception | None = None
    """Raised by what makes jobs."""

    async def __aenter__(self) -> FakeQueue:
        if self.error is not None:
            raise self.error
        return self

    async def __aexit__(self, *_exception: object) -> None:
        pass

    async def enqueue(self, kind: str, args: Any, dependencies: Any, **options: Any) -> JobId:
        self.calls.append(("enqueue", (kind, bytes(args), list(dependencies), options)))
        if self.unanswered is not None:
            raise self.unanswered
        return job_id(1)

    async def submit(self, graph: Any) -> messages.Submitted:
        self.calls.append(("submit", graph))
        if self.unanswered is not None:
            raise self.unanswered
        return messages.Submitted(jobs=len(graph), graph=graph.id)

    async def job_statuses(self, jobs: Any, **options: Any) -> list[JobStatus]:
        self.calls.append(("job_statuses", (list(jobs), options)))
        return [self._job(wanted) for wanted in jobs]

    async def wait(self, jobs: Any, **_options: Any) -> list[JobStatus]:
        self.calls.append(("wait", list(jobs)))
        return [self._job(wanted) for wanted in jobs]

    async def list(self, **wanted: Any) -> JobPage:
        self.calls.append(("list", wanted))
        states, name = tuple(wanted.get("states") or ()), wanted.get("name")
        found = [
            job
            for job in self.jobs
            if (not states or job.state in states) and name in (None, job.name)
        ]
        return JobPage(found[: wanted.get("limit", 50)])

    async def explain(self, wanted: JobId) -> messages.Explanation:
        if self.graph_status is not None and wanted == self.graph_status.id:
            self._job(wanted)
        return messages.Explanation(job=wanted, state=State.WAITING, summary="waits for fetch")

    async def cancel_job(self, wanted: JobId, **options: Any) -> messages.CanceledJobs:
        self.calls.append(("cancel_job", (wanted, options)))
        return messages.CanceledJobs(canceled=1)

    async def cancel_graph(self, wanted: GraphId, **options: Any) -> messages.CanceledJobs:
        self.calls.append(("cancel_graph", (wanted, options)))
        return messages.CanceledJobs(canceled=3, running=1)

    async def retry(self, *jobs: JobId) -> dict[JobId, JobId]:
        """Answer as the scheduler does: a job that was retried before with the copy that exists."""
        copies = {}
        for index, wanted in enumerate(jobs):
            original = self._job(wanted)
            if original.retried_as is None:
                copy = replace(original, id=job_id(500 + index), state=State.QUEUED, queued=NOW)
                self.jobs.append(replace(copy, retry_of=wanted))
                self.jobs[self.jobs.index(original)] = replace(original, retried_as=copy.id)
            copies[wanted] = self._job(wanted).retried_as or wanted
        return copies

    async def retry_graph(self, wanted: GraphId) -> dict[JobId, JobId]:
        return await self.retry(*(job.id for job in self.jobs if job.state is State.FAILED))

    async def graph(self, wanted: GraphId) -> GraphStatus:
        if self.graph_status is None or any(job.id == wanted for job in self.jobs):
            raise NotExist(f"there is no graph {wanted}")
        return self.graph_status

    async def graphs(self, **_options: Any) -> GraphPage:
        return GraphPage(graphs=[self.graph_status] if self.graph_status else [])

    async def watch(self, *_jobs: JobId, graph: GraphId | None = None) -> Any:
        self.calls.append(("watch", graph))
        for event in self.events:
            yield event

    async def workers(self) -> list[WorkerStatus]:
        return []

    def _job(self, wanted: JobId) -> JobStatus:
        for found in self.jobs:
            if found.id == wanted:
                return found
        raise NotExist(f"jobs[0]: no job has the id {wanted}", {"jobs": [wanted]})


Result = SimpleNamespace
CommandLine = Callable[..., Result]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> FakeQueue:
    """The queue that every command gets in place of a connection."""
    fake = FakeQueue()
    monkeypatch.setattr(Invocation, "queue", lambda _run: fake)
    return fake


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No test reads or writes what the user's commands remember."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("URL", "NAMESPACE", "TIMEOUT"):
        monkeypatch.delenv(f"BROKER_QUEUE_{name}", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)  # of whoever runs the tests: nothing is cut


@pytest.fixture
def command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """Run ``broker-queue ARGUMENTS`` in this process; gives code, out and err."""

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["broker-queue", *arguments])
        code = main()
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run
