"""What the document says of each message: body, headers and AMQP properties."""

from __future__ import annotations

from typing import Any

from broker_queue.errors import REQUEST_ERRORS
from broker_queue.job import Verdict
from broker_queue.protocol.fields import UUID_PATTERN
from broker_queue.protocol.names import (
    HEADER_PROTOCOL,
    HEADER_REASON,
    HEADER_STARTED,
    PROTOCOL_VERSION,
    TYPE_PATTERN,
    Names,
)
from broker_queue.protocol.operations import REQUESTS
from broker_queue.protocol.reports import REPORTS
from tests.support.asyncapi.examples import examples
from tests.support.schemas import BARE_REQUEST, Schema, by_message

IN_DOCUMENT = "#/components/schemas/"
BINDING_VERSION = "0.3.0"

_TEXT: Schema = {"type": "string", "maxLength": 255}
_JSON: Schema = {"const": "application/json"}
_PERSISTENT: Schema = {"const": 2, "description": "persistent"}
_PASSING: Schema = {"const": 1, "description": "not persistent"}
_EITHER_MODE: Schema = {
    "type": "integer",
    "enum": [1, 2],
    "description": "not looked at: the queue keeps every message on disk",
}
_ANY_CONTENT = _TEXT | {"description": "not looked at: the body is JSON"}
_TOKEN = _TEXT | {"description": "the token of the hand-over that the report is about, as it came"}
_REPLY_TO = _TEXT | {
    "pattern": r"^amq\.(rabbitmq\.reply-to|gen-)",
    "description": "where the answer goes: `amq.rabbitmq.reply-to`, or a queue named by the broker",
}
_MILLISECONDS: Schema = {
    "type": "integer",
    "minimum": 0,
    "description": "when the run began, in milliseconds since the Unix epoch",
}

_VERSION: Schema = {
    "const": PROTOCOL_VERSION,
    "description": "the version of the protocol; it may be left out, and a message with another is "
    "refused",
}

HEADERS: dict[str, Schema] = {
    "NoHeaders": {"type": "object", "description": "None are read. Brokers may add some."},
    "VersionHeaders": {
        "type": "object",
        "description": "Headers of requests, and of reports. Others are not read.",
        "properties": {HEADER_PROTOCOL: _VERSION},
    },
    "ReportHeaders": {
        "type": "object",
        "description": "Headers of the reports that end an attempt. Others are not read.",
        "properties": {HEADER_PROTOCOL: _VERSION, HEADER_STARTED: _MILLISECONDS},
    },
    "ParkedHeaders": {
        "type": "object",
        "description": "Why the message was parked.",
        "properties": {HEADER_REASON: {"type": "string", "maxLength": 2_000}},
        "required": [HEADER_REASON],
    },
    "DeadHeaders": {
        "description": "The headers of the job, and what the broker says of the end of its message.",
        "type": "object",
        "allOf": [{"$ref": f"{IN_DOCUMENT}JobHeaders"}],
        "properties": {
            "x-first-death-reason": {
                "type": "string",
                "description": "`rejected`, `delivery_limit`, `expired` or `maxlen`",
            },
            "x-delivery-count": {"type": "integer", "description": "how often it had come back"},
        },
    },
}
"""Schemas of headers that have no model of their own."""


def message_id(message: str) -> str:
    """Return a message's key in the document: `finishedReport` for ``report.finished``."""
    kind, _, name = message.partition(".")
    if not name:
        return kind
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in [*others, kind])


def components(names: Names, schemas: dict[str, Schema]) -> dict[str, Any]:
    """Return every message by its id.

    Args:
        names: of the namespace.
        schemas: of the bodies, by name: their descriptions are summaries here.
    """
    return {
        message_id(message): _component(message, model, names, schemas[model])
        for message, model in by_message().items()
        if message != "job.headers"
    }


def properties(message: str, names: Names) -> Schema:
    """Return the schema of a message's AMQP properties, those that say something."""
    kind, _, name = message.partition(".")
    match kind:
        case "request":
            return _of_bare_request() if message == BARE_REQUEST else _of_request(name)
        case "answer":
            return _of_answer(name)
        case "verdict":
            return _of_verdict(name)
        case "report":
            return _of_report(name)
        case "job" | "dead":
            return _of_job(names)
        case "parked":
            return _of_parked()
    return _of_announcement(name or kind)


def message_type(message: str) -> str | None:
    """Return what the property ``type`` of a message is; None if it depends, or there is none."""
    kind, _, name = message.partition(".")
    if message == BARE_REQUEST:
        return None
    if kind == "answer":
        return "error" if name == "error" else "ok"
    return "event" if kind == "event" else name or None


def _component(message: str, model: str, names: Names, schema: Schema) -> dict[str, Any]:
    kind, _, name = message.partition(".")
    table = properties(message, names)
    fixed = message_type(message)
    binding = {
        **({} if fixed is None else {"messageType": fixed}),
        "bindingVersion": BINDING_VERSION,
        "x-properties": table,
    }
    described: dict[str, Any] = {
        "name": message,
        "title": _title(kind, name),
        "summary": _summary(message, schema),
        "description": _property_table(table),
        "contentType": "application/json",
    }
    if "correlation_id" in table["properties"]:
        described["correlationId"] = {
            "description": table["properties"]["correlation_id"]["description"],
            "location": "$message.header#/correlation_id",
        }
    return described | {
        "headers": {"$ref": f"{IN_DOCUMENT}{_headers(message)}"},
        "payload": {"$ref": f"{IN_DOCUMENT}{model}"},
        "bindings": {"amqp": binding},
        "examples": [{"name": message_id(message)} | each for each in examples(message)],
    }


def _title(kind: str, name: str) -> str:
    single = {
        "job": "Job",
        "event": "Event",
        "dead": "Job that the broker gave up on",
        "parked": "Parked message",
    }
    nouns = {"request": "Request", "answer": "Answer to", "report": "Report", "verdict": "Verdict"}
    if (kind, name) == ("answer", "error"):
        return "Answer error"
    if f"{kind}.{name}" == BARE_REQUEST:
        return "Request without a type"
    return single.get(kind) or f"{nouns.get(kind, 'Control message')} {name}"


def _summary(message: str, schema: Schema) -> str:
    kind, _, name = message.partition(".")
    if kind == "verdict":
        return {
            Verdict.ACCEPTED: "The report counts.",
            Verdict.STALE: "Another hand-over is the current one, or the job has ended.",
            Verdict.CANCELED: "The job was canceled.",
            Verdict.NOT_EXIST: "There is no such job, or the token is none of the scheduler's.",
        }[Verdict(name)]
    if message == "answer.error":
        return f"Refused; `code` is one of {', '.join(f'`{code}`' for code in REQUEST_ERRORS)}."
    texts = {
        "job": "A job handed out to a worker; the body is its args.",
        "dead": "The message of a job that workers rejected or gave back too often.",
        "parked": "A message that nobody could be told about, and why.",
    }
    return texts.get(message) or str(schema["description"]).split("\n\n")[0]


def _headers(message: str) -> str:
    names = {
        "job": "JobHeaders",
        "dead": "DeadHeaders",
        "parked": "ParkedHeaders",
        "report.finished": "ReportHeaders",
        "report.finished_with_jobs": "ReportHeaders",
        "report.failed": "ReportHeaders",
        "report.batch": "NoHeaders",
    }
    versioned = message.startswith(("request.", "report."))
    return names.get(message, "VersionHeaders" if versioned else "NoHeaders")


def _property_table(table: Schema) -> str:
    """The properties as Markdown, for readers of whatever a tool makes of the document."""
    required = table.get("required", [])
    rows = []
    for name, schema in table["properties"].items():
        value = f"`{schema['const']}`" if "const" in schema else schema["type"]
        if value == "``":
            value = "empty"
        text = f"{value}: {schema['description']}" if "description" in schema else value
        rows.append(f"| `{name}` | {text} | {'yes' if name in required else 'no'} |")
    head = ["AMQP properties:", "", "| property | value | required |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows])


def _table(found: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in found if name not in optional]
    return {"type": "object", "properties": found, "required": required}


def _of_request(operation: str) -> Schema:
    assert operation in REQUESTS
    found = {
        "type": {"const": operation, "description": "the operation"},
        "correlation_id": _TEXT | {"description": "comes back with the answer"},
        "message_id": _TEXT | {"description": "comes back with the answer, too"},
        "reply_to": _REPLY_TO,
        "content_type": _ANY_CONTENT,
        "delivery_mode": _EITHER_MODE,
        "expiration": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "milliseconds after which nobody waits for the answer",
        },
    }
    return _table(found, optional=tuple(name for name in found if name != "type"))


def _of_bare_request() -> Schema:
    found = {
        "type": {"const": "", "description": "or none"},
        "message_id": _TEXT
        | {
            "description": "a UUID: the id of the single job, or what the ids of several are made "
            "of; anything else counts as none, and new ids are made"
        },
        "correlation_id": _TEXT | {"description": "comes back with the answer"},
        "reply_to": _REPLY_TO,
        "content_type": _ANY_CONTENT,
        "delivery_mode": _EITHER_MODE,
    }
    return _table(found, optional=tuple(found))


def _of_answer(operation: str) -> Schema:
    kind = "error" if operation == "error" else "ok"
    found = {
        "type": {"const": kind},
        "correlation_id": _TEXT | {"description": "that of the request"},
        "message_id": _TEXT | {"description": "that of the request"},
        "content_type": _JSON,
        "delivery_mode": _PASSING,
    }
    return _table(found, optional=("correlation_id", "message_id"))


def _of_verdict(verdict: str) -> Schema:
    found = {
        "type": {"const": verdict, "description": "the verdict"},
        "correlation_id": _TEXT | {"description": "that of the report: the token"},
        "message_id": _TEXT | {"description": "that of the report"},
        "content_type": _JSON,
        "delivery_mode": _PASSING,
    }
    return _table(found, optional=("correlation_id", "message_id"))


def _of_report(kind: str) -> Schema:
    assert kind in REPORTS
    found: dict[str, Schema] = {"type": {"const": kind, "description": "the report"}}
    if kind == "finished":
        found["type"]["description"] = "the report; without a type it is this one"
    if kind != "batch":
        question = _TEXT | {"description": "comes back with the answer: which question it answers"}
        found |= {"correlation_id": _TOKEN, "message_id": question, "reply_to": _REPLY_TO}
    found |= {
        "content_type": _TEXT | {"description": "`text/plain`: a string; else the body is JSON"}
        if kind == "finished"
        else _ANY_CONTENT,
        "delivery_mode": _EITHER_MODE,
    }
    optional = ("message_id", "reply_to", "content_type", "delivery_mode")
    return _table(found, optional=("type", *optional) if kind == "finished" else optional)


def _of_job(names: Names) -> Schema:
    return _table(
        {
            "message_id": {
                "type": "string",
                "pattern": UUID_PATTERN,
                "description": "the id of the job",
            },
            "correlation_id": _TEXT | {"description": "the token of this hand-over, opaque"},
            "reply_to": {"const": names.reports, "description": "where reports go"},
            "type": {
                "type": "string",
                "pattern": TYPE_PATTERN.replace(r"(?!\n)", ""),
                "description": "the type of the job",
            },
            "content_type": _JSON,
            "delivery_mode": _PERSISTENT,
            "priority": {
                "type": "integer",
                "minimum": 0,
                "maximum": 9,
                "description": "the job's: 0 (last) to 9 (first)",
            },
            "timestamp": {
                "type": "integer",
                "minimum": 0,
                "description": "when it was published, in seconds since the Unix epoch",
            },
        }
    )


def _of_announcement(kind: str) -> Schema:
    return _table({"type": {"const": kind}, "content_type": _JSON, "delivery_mode": _PASSING})


def _of_parked() -> Schema:
    found = {
        "type": _TEXT | {"description": "as it came"},
        "correlation_id": _TEXT | {"description": "as it came"},
        "content_type": _JSON,
        "delivery_mode": _PERSISTENT,
    }
    return _table(found, optional=("type", "correlation_id"))
