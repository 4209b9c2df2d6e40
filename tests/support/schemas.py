"""JSON Schemas of every body and of the headers, from the models of the code."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeAlias, get_args

import msgspec

from broker_queue.job import Verdict
from broker_queue.protocol import bare, messages, reports
from broker_queue.protocol.job_headers import JobHeaders
from broker_queue.protocol.operations import REQUESTS

Schema: TypeAlias = dict[str, Any]

IN_SCHEMAS = "#/$defs/"
"""Where `schemas.json` keeps its definitions."""

BARE_REQUEST = "request.bare"
"""The request whose property ``type`` is missing or empty: what it is called here."""

_OTHERS: dict[str, Schema] = {
    "Args": {"description": "Args of a job: any JSON."},
    "Result": {
        "description": "Result of a job: any JSON. An empty body is `null`; a text with content_type "
        "`text/plain` is that string."
    },
    "Batch": {
        "description": "Report `batch`: several small reports, each with its token.",
        "type": "array",
        "items": {"$ref": f"{IN_SCHEMAS}BatchItem"},
    },
    "Anything": {"description": "Whatever was sent, be it JSON or not."},
    "BareRequest": {
        "description": "Request without a type: a job to be enqueued, or several.",
        "anyOf": [
            {
                "allOf": [
                    {"$ref": f"{IN_SCHEMAS}BareJob"},
                    {"properties": {"type": {"type": "string"}}, "required": ["type"]},
                ]
            },
            {"allOf": [{"$ref": f"{IN_SCHEMAS}BareSubmit"}, {"minProperties": 1}]},
        ],
    },
}
"""Bodies that have no model of their own."""


def by_message() -> dict[str, str]:
    """Return the name of the definition of each message's body, by kind and type of the message."""
    found = {}
    for operation, (request, _, _) in REQUESTS.items():
        found[f"request.{operation}"] = request.__name__
    found[BARE_REQUEST] = "BareRequest"
    for operation, (_, answer, _) in REQUESTS.items():
        found[f"answer.{operation}"] = answer.__name__
    found["answer.error"] = messages.Error.__name__
    for kind, model in reports.REPORTS.items():
        found[f"report.{kind}"] = {"finished": "Result", "batch": "Batch"}.get(
            kind, getattr(model, "__name__", "")
        )
    found |= {f"verdict.{verdict}": reports.ReportAnswer.__name__ for verdict in Verdict}
    return found | {
        "job": "Args",
        "job.headers": JobHeaders.__name__,
        "event": messages.JobEvent.__name__,
        "control.cancel": messages.CancelControl.__name__,
        "dead": "Args",
        "parked": "Anything",
    }


def definitions(within: str) -> dict[str, Schema]:
    """Return the schema of each model, by its name; references lead to `within`."""
    models = list(_models())
    _, found = msgspec.json.schema_components(
        models, ref_template=f"{within}{{name}}", schema_hook=schema_of_raw
    )
    for model in with_parts(models):
        _describe(found[model.__name__], model)
    found[reports.BatchItem.__name__]["allOf"] = list(_bodies_of_items())
    text = json.dumps(found | _OTHERS, ensure_ascii=False)
    # In JSON Schema "$" is the end of the text; the look-ahead, for Python's "$", others do not know.
    text = text.replace("(?!\\\\n)", "").replace(f'"{IN_SCHEMAS}', f'"{within}')
    return dict(sorted(json.loads(text).items()))


def document() -> str:
    """Return `schemas.json`: the schema of each message by its kind and type, and all models."""
    index = {message: {"$ref": f"{IN_SCHEMAS}{name}"} for message, name in by_message().items()}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:broker-queue:protocol:1",
        "title": "Bodies and headers of the protocol, version 1",
        "description": "The first definitions name messages: `request.submit`, `answer.submit`, "
        "`report.failed` and so on; the others are what those are made of. One thing no schema can "
        "say: an integer is written without a fraction, `1` and not `1.0`.",
        "$defs": index | definitions(IN_SCHEMAS),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def schema_of_raw(model: type) -> Schema:
    """Return the schema of JSON that is passed on unread."""
    if model is msgspec.Raw:
        return {}
    raise NotImplementedError(model)


def _models() -> Iterator[Any]:
    for request, answer, _ in REQUESTS.values():
        yield from (request, answer)
    yield from (model for model in reports.REPORTS.values() if model is not msgspec.Raw)
    yield from (messages.Error, messages.JobEvent, messages.CancelControl, reports.ReportAnswer)
    yield from (JobHeaders, bare.BareJob, bare.BareSubmit)


def _bodies_of_items() -> Iterator[Schema]:
    """Yield what the body of an item is, for each type of it that says more than any JSON."""
    for kind in get_args(reports.SmallReport):
        model = reports.REPORTS[kind]
        if model is not msgspec.Raw:
            body = {"anyOf": [{"$ref": f"{IN_SCHEMAS}{model.__name__}"}, {"type": "null"}]}
            yield {
                "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
                "then": {"properties": {"body": body}},
            }


def with_parts(models: list[Any]) -> Iterator[type]:
    """Yield the structs among `models`, and those that their fields are made of."""
    seen: set[type] = set()
    waiting = [msgspec.inspect.type_info(model) for model in models]
    while waiting:
        match waiting.pop():
            case msgspec.inspect.StructType(cls=cls, fields=fields):
                if cls not in seen:
                    seen.add(cls)
                    yield cls
                    waiting += [field.type for field in fields]
            case msgspec.inspect.UnionType(types=types):
                waiting += types
            case msgspec.inspect.ListType(item_type=item):
                waiting.append(item)
            case msgspec.inspect.DictType(value_type=value):
                waiting.append(value)
            case msgspec.inspect.Metadata(type=inner):
                waiting.append(inner)


def _describe(schema: Schema, model: type) -> None:
    """Put in the docstrings of the model and of its fields, as Markdown."""
    schema["description"] = _markdown(model.__doc__)
    for name, text in _field_docs(model).items():
        schema["properties"][name]["description"] = _markdown(text)
    if not schema["required"]:
        del schema["required"]


def _field_docs(model: type) -> dict[str, str]:
    """The docstring under each field, which Python itself does not keep."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: text.value.value
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _markdown(text: str | None) -> str:
    """Return a docstring without its indentation: each paragraph a line."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in paragraphs).replace("``", "`")
