"""What can be asked of the scheduler: a request's and its answer's body, by operation."""

from __future__ import annotations

from typing import NamedTuple

from broker_queue.protocol.messages import (
    Cancel,
    CanceledJobs,
    Explain,
    Explanation,
    Extension,
    GetGraph,
    GetInfo,
    GetStatus,
    GetWorkers,
    GraphPage,
    GraphStatus,
    Hello,
    Info,
    ListGraphs,
    ListJobs,
    Message,
    Retried,
    Retry,
    StatusPage,
    StrictMessage,
    Submit,
    Submitted,
    Wait,
    Waited,
    Welcome,
    WorkersPage,
)


class Operation(NamedTuple):
    """What can be asked of the scheduler.

    One that `writes` stays in the queue until a scheduler comes, whatever becomes of the client and
    the broker. The others are dropped once nobody waits for their answer.
    """

    request: type[StrictMessage]
    answer: type[Message]
    writes: bool = False


REQUESTS: dict[str, Operation] = {
    "submit": Operation(Submit, Submitted, writes=True),
    "status": Operation(GetStatus, StatusPage),
    "wait": Operation(Wait, Waited),
    "cancel": Operation(Cancel, CanceledJobs, writes=True),
    "retry": Operation(Retry, Retried, writes=True),
    "explain": Operation(Explain, Explanation),
    "list": Operation(ListJobs, StatusPage),
    "graph": Operation(GetGraph, GraphStatus),
    "graphs": Operation(ListGraphs, GraphPage),
    "add_dependencies": Operation(Extension, Submitted, writes=True),
    "hello": Operation(Hello, Welcome),
    "workers": Operation(GetWorkers, WorkersPage),
    "info": Operation(GetInfo, Info),
}
"""Every operation by its name, the request's property ``type``."""
