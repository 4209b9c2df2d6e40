"""The exchanges and queues of the document, and which messages pass there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from broker_queue.job import State
from broker_queue.protocol.names import REPORTS_KEY, REQUESTS_KEY, Names, routing_key
from tests.support.asyncapi.messages import BINDING_VERSION, message_id
from tests.support.schemas import by_message

TYPE = "{type}"
CHANNEL = "{channel}"

_PARAMETERS: Mapping[str, dict[str, Any]] = {
    "type": {
        "description": "The type of the jobs: `[A-Za-z0-9_.:-]{1,100}`.",
        "examples": ["resize"],
    },
    "channel": {
        "description": "The channel of the jobs: `[A-Za-z0-9_.:-]{1,60}`.",
        "examples": ["acme"],
    },
    "state": {
        "description": "The state that the job is in now.",
        "enum": [state.value for state in State],
        "location": "$message.payload#/state",
    },
    "worker": {
        "description": "The name of the worker, as in its `hello`.",
        "examples": ["host-7-1234-a1b2c3"],
    },
    "key": {"description": "The routing key of the job's message.", "examples": ["resize"]},
}
_EVENT_TYPE = {
    "description": "The type of the job, or `milestone` for a job without one.",
    "examples": ["resize", "milestone"],
}


def of_kind(*kinds: str) -> list[str]:
    """Return the messages of these kinds: ``request``, ``report`` and so on."""
    return [
        message
        for message in by_message()
        if message.partition(".")[0] in kinds and message != "job.headers"
    ]


def channels(names: Names) -> dict[str, Any]:
    """Return all channels: first those of exchanges, then queues."""
    requests, reports = of_kind("request"), of_kind("report")
    to_one = [report for report in reports if report != "report.batch"]
    with_channel = routing_key(TYPE, CHANNEL)
    found = {
        "requests": _exchange(
            names.requests, "direct", REQUESTS_KEY, requests, "From clients and workers."
        ),
        "reports": _exchange(names.reports, "direct", REPORTS_KEY, reports, "From workers."),
        "jobs": _exchange(
            names.jobs, "direct", TYPE, ["job"], "To the queue of a type, without a channel."
        ),
        "jobsOfChannel": _exchange(
            names.jobs, "direct", with_channel, ["job"], "To the queue of a type and channel."
        ),
        "control": _exchange(
            names.control, "topic", TYPE, ["control.cancel"], "To the workers of a type."
        ),
        "controlOfChannel": _exchange(
            names.control, "topic", with_channel, ["control.cancel"], "To those of a channel."
        ),
        "events": _exchange(
            names.events, "topic", f"{TYPE}.{{state}}", ["event"], "To whoever binds a queue."
        ),
        "deadLetters": _exchange(
            names.dead, "fanout", "{key}", ["dead"], "From the broker, of messages it gave up on."
        ),
        "answers": _anywhere(
            of_kind("answer", "verdict"),
            "To the address in `reply_to` of a request or report, through the default exchange.",
        ),
        "jobAnswers": _anywhere(
            to_one,
            "To the address in `reply_to` of a job, through the default exchange. It is the queue "
            f"`{names.reports}`, so this is another way to `reports`.",
        ),
        "requestsQueue": _queue(names.requests, requests, "Read by the scheduler."),
        "reportsQueue": _queue(names.reports, reports, "Read by the scheduler."),
        "jobQueue": _queue(names.job_queue(TYPE), ["job"], "Read by the workers of a type."),
        "jobQueueOfChannel": _queue(
            names.job_queue(TYPE, CHANNEL), ["job"], "Read by the workers of a type and channel."
        ),
        "workerQueue": _queue(
            names.worker_queue("{worker}"),
            ["control.cancel"],
            f"Of one worker, which declares it and binds it to `{names.control}`. Any name will do, "
            "also one that the broker gives.",
            exclusive=True,
        ),
        "deadQueue": _queue(names.dead, ["dead"], "Read by the scheduler."),
        "parked": _queue(names.parked, ["parked"], "For whoever looks into what went wrong."),
    }
    found["events"]["parameters"]["type"] = _EVENT_TYPE
    for of_jobs in ("jobsOfChannel", "jobQueueOfChannel"):
        location = {"location": "$message.header#/channel"}
        found[of_jobs]["parameters"]["channel"] = _PARAMETERS["channel"] | location
    return found


def _exchange(
    name: str, kind: str, key: str, messages: Iterable[str], description: str
) -> dict[str, Any]:
    exchange = {"name": name, "type": kind, "durable": True, "autoDelete": False}
    binding = {"is": "routingKey", "exchange": exchange}
    return _channel(key, f"Exchange {name}, routing key {key}", messages, description, binding)


def _anywhere(messages: Iterable[str], description: str) -> dict[str, Any]:
    binding = {"is": "routingKey", "exchange": {"name": "", "type": "default"}}
    title = "Default exchange, routing key from reply_to"
    return _channel(None, title, messages, description, binding)


def _queue(
    name: str, messages: Iterable[str], description: str, *, exclusive: bool = False
) -> dict[str, Any]:
    queue: dict[str, Any] = {"durable": not exclusive, "exclusive": exclusive, "autoDelete": False}
    if "{" not in name:  # else the address alone can say it
        queue = {"name": name} | queue
    binding = {"is": "queue", "queue": queue}
    return _channel(name, f"Queue {name}", messages, description, binding)


def _channel(
    address: str | None,
    title: str,
    messages: Iterable[str],
    description: str,
    binding: dict[str, Any],
) -> dict[str, Any]:
    parameters = {
        name: value for name, value in _PARAMETERS.items() if f"{{{name}}}" in (address or "")
    }
    return {
        "address": address,
        "title": title,
        "description": description,
        **({"parameters": parameters} if parameters else {}),
        "messages": {
            message_id(message): {"$ref": f"#/components/messages/{message_id(message)}"}
            for message in messages
        },
        "bindings": {"amqp": binding | {"bindingVersion": BINDING_VERSION}},
    }
