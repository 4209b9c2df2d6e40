"""An example of each message, made of the models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from broker_queue.job import Condition, State
from broker_queue.protocol import bare, messages, reports
from broker_queue.protocol.job_headers import JobHeaders
from broker_queue.protocol.names import HEADER_REASON, HEADER_STARTED

FIRST = "01994e2a-7c1b-7d3e-9f40-1a2b3c4d5e6f"
SECOND = "01994e2a-7c1b-7d3e-9f40-1a2b3c4d5e70"
GRAPH = "01994e2a-7c1b-7d3e-9f40-1a2b3c4d5e00"
TOKEN = f"{FIRST}.1.1.GmXkq0v7t2w"
MOMENT = 1_767_225_600_000
ARGS = Raw(b'{"url":"s3://photos/1.jpg","width":800}')
RESULT = Raw(b'{"url":"s3://photos/1-800.jpg"}')
WORKER = "host-7-1234-a1b2c3"
ACCEPTED = reports.ReportAnswer(state=State.RUNNING, lease=60.0)

_JOB_HEADERS = JobHeaders(
    protocol=1, attempt=1, max_attempts=3, dependency_count=1, dependencies=[SECOND], graph=GRAPH
).to_table()

_STATUS = messages.JobStatus(
    id=FIRST,
    state=State.FINISHED,
    queued=MOMENT,
    type="resize",
    graph=GRAPH,
    ready=MOMENT + 5,
    started=MOMENT + 9,
    finished=MOMENT + 420,
    attempt=1,
    result=RESULT,
)

_BODIES: dict[str, messages.Message | Sequence[messages.Message] | Raw] = {
    "request.submit": messages.Submit(
        jobs=[
            messages.NewJob(id=FIRST, type="resize", args=ARGS),
            messages.NewJob(id=SECOND, dependencies=[0], name="all photos"),
        ],
        graph=messages.NewGraph(id=GRAPH, name="photos"),
    ),
    "request.status": messages.GetStatus(jobs=[FIRST], args=True),
    "request.wait": messages.Wait(jobs=[FIRST, SECOND], timeout=60.0),
    "request.cancel": messages.Cancel(jobs=[FIRST], dependents=True, reason="a wrong file"),
    "request.retry": messages.Retry(graph=GRAPH),
    "request.explain": messages.Explain(job=SECOND),
    "request.list": messages.ListJobs(states=[State.FAILED], type="resize", limit=100),
    "request.graph": messages.GetGraph(graph=GRAPH),
    "request.graphs": messages.ListGraphs(limit=10),
    "request.add_dependencies": messages.Extension(
        job=SECOND, dependencies=[messages.Dependency(job=FIRST, condition=Condition.ANY)]
    ),
    "request.hello": messages.Hello(
        worker=WORKER, types=["resize"], concurrency=4, host="host-7", pid=1234, leases=True
    ),
    "request.workers": messages.GetWorkers(),
    "request.info": messages.GetInfo(),
    "request.bare": bare.BareJob(type="resize", args=ARGS),
    "answer.submit": messages.Submitted(jobs=2, graph=GRAPH),
    "answer.status": messages.StatusPage(jobs=[_STATUS]),
    "answer.wait": messages.Waited(ended=1, open=[SECOND]),
    "answer.cancel": messages.CanceledJobs(canceled=2, running=1),
    "answer.retry": messages.Retried(
        jobs=[messages.RetriedJob(job=FIRST, retried_as=SECOND)],
    ),
    "answer.explain": messages.Explanation(
        job=SECOND,
        state=State.WAITING,
        summary="waits for 1 job",
        reasons=[
            messages.Reason(
                kind="dependency", text="resize is running", job=FIRST, state=State.RUNNING, depth=1
            )
        ],
    ),
    "answer.list": messages.StatusPage(jobs=[_STATUS], next=41),
    "answer.graph": messages.GraphStatus(
        id=GRAPH,
        queued=MOMENT,
        name="photos",
        counts=[messages.TypeCount(type="resize", state=State.FINISHED, jobs=1)],
    ),
    "answer.graphs": messages.GraphPage(
        graphs=[messages.GraphStatus(id=GRAPH, queued=MOMENT, name="photos")], next=7
    ),
    "answer.add_dependencies": messages.Submitted(jobs=0),
    "answer.hello": messages.Welcome(queues=["bq.jobs.resize"], protocol=1, canceled=[TOKEN]),
    "answer.workers": messages.WorkersPage(
        workers=[
            messages.WorkerStatus(
                worker=WORKER,
                types=["resize"],
                channels=[""],
                concurrency=4,
                running=1,
                host="host-7",
                pid=1234,
                software="broker-queue 0.1.0",
                since=MOMENT,
                seen=MOMENT + 30_000,
                leases=True,
            )
        ]
    ),
    "answer.info": messages.Info(
        version="0.1.0",
        protocol=1,
        database="scheduler.sqlite3",
        broker="RabbitMQ 4.1.0",
        epoch=1,
        since=MOMENT,
        jobs={"finished": 1, "waiting": 1},
        queues=[
            messages.QueueStatus(
                queue="bq.jobs.resize",
                type="resize",
                channel="",
                in_line=0,
                handed_out=1,
                messages=1,
                consumers=1,
            )
        ],
    ),
    "answer.error": messages.Error(
        code="not_exist",
        message=f"jobs[0]: no job {FIRST}",
        details=Raw(b'{"field":"jobs[0]"}'),
    ),
    "report.finished": RESULT,
    "report.finished_with_jobs": reports.FinishedWithJobs(
        result=RESULT, jobs=[messages.NewJob(id=SECOND, type="publish", args=ARGS)]
    ),
    "report.failed": reports.Failed(
        code="not_found", message="no such file", details=Raw(b'{"status":404}'), retry=False
    ),
    "report.started": reports.Started(worker=WORKER),
    "report.progress": reports.Progressed(fraction=0.5, message="half of it"),
    "report.released": reports.Released(reason="the worker stops"),
    "report.lease": reports.Lease(worker=WORKER),
    "report.heartbeat": reports.Lease(worker=WORKER),
    "report.batch": [
        reports.BatchItem(token=TOKEN, started=MOMENT, body=RESULT),
        reports.BatchItem(token=TOKEN, type="progress", body=Raw(b'{"fraction":0.5}')),
    ],
    "verdict.accepted": ACCEPTED,
    "verdict.stale": reports.ReportAnswer(state=State.FINISHED),
    "verdict.canceled": reports.ReportAnswer(state=State.CANCELED),
    "verdict.not_exist": reports.ReportAnswer(),
    "job": ARGS,
    "event": messages.JobEvent(
        job=FIRST, state=State.RUNNING, at=MOMENT, type="resize", graph=GRAPH, attempt=1
    ),
    "control.cancel": messages.CancelControl(tokens=[TOKEN]),
    "dead": ARGS,
    "parked": Raw(b'{"jobs":[]}'),
}

_SECOND_BODIES: dict[str, messages.Message] = {
    "request.bare": bare.BareSubmit(
        jobs=[
            bare.BareJob(type="resize", args=ARGS),
            bare.BareJob(type="publish", dependencies=[0]),
        ]
    ),
}
"""Of messages whose body has two shapes."""

_HEADERS: dict[str, dict[str, Any]] = {
    "job": _JOB_HEADERS,
    "dead": _JOB_HEADERS | {"x-first-death-reason": "delivery_limit", "x-delivery-count": 21},
    "report.finished": {HEADER_STARTED: MOMENT},
    "report.failed": {HEADER_STARTED: MOMENT},
    "parked": {HEADER_REASON: "report with an unknown token: no correlation_id"},
}


def examples(message: str) -> list[dict[str, Any]]:
    """Return the examples of a message, by its kind and type: one of each shape of its body."""
    bodies = [table[message] for table in (_BODIES, _SECOND_BODIES) if message in table]
    headers = _HEADERS.get(message)
    return [({"headers": headers} if headers else {}) | {"payload": _json(body)} for body in bodies]


def _json(body: messages.Message | Sequence[messages.Message] | Raw) -> Any:
    return json.loads(bytes(body) if isinstance(body, Raw) else messages.encode(body))
