"""The operations of the document, as the scheduler sees them: who sends what, and what is answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from broker_queue.protocol.operations import REQUESTS
from tests.support.asyncapi.channels import of_kind
from tests.support.asyncapi.messages import BINDING_VERSION, message_id
from tests.support.schemas import BARE_REQUEST

_FROM_REPLY_TO = {
    "description": "The property `reply_to`.",
    "location": "$message.header#/reply_to",
}


def operations() -> dict[str, Any]:
    """Return all operations, by their ids."""
    found = {}
    for message in of_kind("request"):
        is_bare = message == BARE_REQUEST
        operation = "submit" if is_bare else message.partition(".")[2]
        found[f"receive{_capital(message)}"] = _operation(
            "receive",
            "requests",
            [message],
            "Enqueues the jobs of a request without a type, and answers it as a submit"
            if is_bare
            else f"Answers the request {operation}",
            {"deliveryMode": 2 if REQUESTS[operation].writes else 1, "ack": True},
            _reply("answers", [f"answer.{operation}", "answer.error"]),
        )
    for message in of_kind("report"):
        kind = message.partition(".")[2]
        found[f"receive{_capital(message)}"] = _operation(
            "receive",
            "reports",
            [message],
            f"Folds the report {kind} into its job",
            {"deliveryMode": 2, "ack": True},
            None if kind == "batch" else _reply("answers", of_kind("verdict")),
        )
    sent = {"deliveryMode": 2, "mandatory": True, "timestamp": True}
    passing = {"deliveryMode": 1, "mandatory": False}
    answers = [report for report in of_kind("report") if report != "report.batch"]
    found |= {
        "sendJob": _operation(
            "send",
            "jobs",
            ["job"],
            "Hands a job to the workers of its type: an RPC call, answered by reports",
            sent,
            _reply("jobAnswers", answers),
        ),
        "sendJobOfChannel": _operation(
            "send",
            "jobsOfChannel",
            ["job"],
            "Hands a job with a channel to the workers of its type and channel",
            sent,
            _reply("jobAnswers", answers),
        ),
        "sendCancel": _operation(
            "send", "control", ["control.cancel"], "Tells workers to stop canceled jobs", passing
        ),
        "sendCancelOfChannel": _operation(
            "send",
            "controlOfChannel",
            ["control.cancel"],
            "Tells the workers of a channel to stop canceled jobs",
            passing,
        ),
        "sendEvent": _operation(
            "send", "events", ["event"], "Tells of a change of state, or of progress", passing
        ),
        "receiveDead": _operation(
            "receive",
            "deadQueue",
            ["dead"],
            "Fails a job that the broker gave up on",
            {"deliveryMode": 2, "ack": True},
        ),
        "sendParked": _operation(
            "send",
            "parked",
            ["parked"],
            "Puts away a message that nobody can be told about",
            {"deliveryMode": 2, "mandatory": False},
        ),
    }
    return found


def _operation(
    action: str,
    channel: str,
    messages: Iterable[str],
    summary: str,
    binding: dict[str, Any],
    reply: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": f"{summary}.",
        "messages": _references(channel, messages),
        "bindings": {"amqp": binding | {"bindingVersion": BINDING_VERSION}},
        **({"reply": reply} if reply else {}),
    }


def _reply(channel: str, messages: Iterable[str]) -> dict[str, Any]:
    return {
        "address": _FROM_REPLY_TO,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": _references(channel, messages),
    }


def _references(channel: str, messages: Iterable[str]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{message_id(each)}"} for each in messages]


def _capital(message: str) -> str:
    found = message_id(message)
    return found[0].upper() + found[1:]
