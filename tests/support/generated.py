"""The generated parts of the docs: rewritten from the code, or checked against it.

``python -m tests.support.generated`` rewrites them; ``--check`` changes nothing and fails if one
differs from its source. A part stands between ``<!-- generated: name -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import sys
from collections.abc import Callable
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from pydantic_core import PydanticUndefined

from benchmarks import summary, tables
from benchmarks.scale import tables as scale
from broker_queue.cli.exit_codes import MEANING
from broker_queue.conformance.rehearse import CHECKS
from broker_queue.errors import REQUEST_ERRORS
from broker_queue.failpoints import Point
from broker_queue.job import Condition, FailureCode, State
from broker_queue.protocol import bare, messages, reports
from broker_queue.protocol.job_headers import JobHeaders
from broker_queue.protocol.names import Names
from broker_queue.protocol.operations import REQUESTS
from scheduler.rules.edges import SATISFIED_BY
from scheduler.rules.lifecycle import TRANSITIONS
from scheduler.settings import Settings
from tests.support import schemas
from tests.support.asyncapi import document

DOCS = Path(__file__).parents[2] / "docs"
MARK = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
SCHEMAS = DOCS / "schemas.json"
ASYNCAPI = DOCS / "asyncapi.yaml"
NAMES = Names("bq")
"""With the namespace that the docs write."""


def state_diagram() -> str:
    """The transitions as a Mermaid diagram."""
    edges: dict[tuple[State, State], list[str]] = {}
    for (state, event), targets in TRANSITIONS.items():
        for target in targets:
            if target is not state:
                edges.setdefault((state, target), []).append(event.__name__)
    lines = [
        f"    {before} --> {after}: {', '.join(events)}"
        for (before, after), events in edges.items()
    ]
    final = [f"    {state} --> [*]" for state in State if state.is_final]
    return "\n".join(
        ["```mermaid", "stateDiagram-v2", "    [*] --> waiting", *lines, *final, "```"]
    )


def transition_table() -> str:
    """What each event does in each state."""
    rows = [
        f"| `{state}` | {event.__name__} | {', '.join(f'`{target}`' for target in targets)} |"
        for (state, event), targets in TRANSITIONS.items()
    ]
    return "\n".join(["| in state | event | leads to |", "| --- | --- | --- |", *rows])


def condition_table() -> str:
    """What each condition accepts."""
    rows = [
        f"| `{condition}` | {', '.join(f'`{s}`' for s in sorted(SATISFIED_BY[condition]))} |"
        for condition in Condition
    ]
    return "\n".join(["| condition | satisfied when the dependency is |", "| --- | --- |", *rows])


def settings_table() -> str:
    """Every setting of the scheduler."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is PydanticUndefined else f"`{field.default}`"
        variable = f"`BROKER_QUEUE_{name.upper()}`"
        rows.append(
            f"| `--{name.replace('_', '-')}` | {variable} | {default} | {field.description} |"
        )
    return "\n".join(
        ["| flag | variable | default | what it does |", "| --- | --- | --- | --- |", *rows]
    )


def error_table() -> str:
    """Every error code of the wire."""
    rows = [
        f"| `{code}` | `{error.__name__}` | {_sentences(error.__doc__)} |"
        for code, error in REQUEST_ERRORS.items()
    ]
    return "\n".join(["| code | class in Python | meaning |", "| --- | --- | --- |", *rows])


def request_models() -> str:
    """Bodies of all requests and their answers."""
    parts = []
    for name, operation in REQUESTS.items():
        parts += [f"#### `{name}`", "", _sentences(operation.request.__doc__), ""]
        parts += [_field_table(operation.request), ""]
        parts += [f"Answered `ok` with `{operation.answer.__name__}`.", ""]
    return "\n".join(parts).rstrip()


def answer_models() -> str:
    """Bodies of answers, and what they are made of."""
    seen: dict[str, type] = {}
    for operation in REQUESTS.values():
        seen.setdefault(operation.answer.__name__, operation.answer)
    more = (
        messages.JobStatus, messages.DependencyStatus, messages.Error, messages.Progress,
        messages.Reason, messages.TypeCount, messages.RetriedJob, messages.WorkerStatus,
        messages.QueueStatus, reports.ReportAnswer,
    )  # fmt: skip
    seen |= {model.__name__: model for model in more}
    return _models(list(seen.values()))


def part_models() -> str:
    """What submits are made of."""
    return _models(
        [
            messages.NewJob, messages.Dependency, messages.Reference, messages.Backoff,
            messages.Extension, messages.NewGraph,
        ]
    )  # fmt: skip


def bare_models() -> str:
    """Bodies of requests without a type."""
    return _models([bare.BareSubmit])


def report_models() -> str:
    """Bodies of all reports."""
    parts = []
    for kind, model in reports.REPORTS.items():
        parts += [f"#### `{kind}`", ""]
        if kind == "finished":
            parts += [
                "Any JSON: the result. An empty body is `null`. With content_type `text/plain` the "
                "body is text, in UTF-8, and the result is that string.",
                "",
            ]
        elif kind == "batch":
            parts += ["An array of:", "", _field_table(reports.BatchItem), ""]
        else:
            parts += [_sentences(model.__doc__), "", _field_table(model), ""]
    return "\n".join(parts).rstrip()


def event_models() -> str:
    """Bodies of events and control messages."""
    return _models([messages.JobEvent, messages.CancelControl])


def job_headers() -> str:
    """Headers of a job's message."""
    return _field_table(JobHeaders).replace("| field |", "| header |")


def failure_codes() -> str:
    """Codes that the scheduler and the worker write themselves."""
    rows = [f"| `{code}` | {meaning} |" for code, meaning in _member_docs(FailureCode).items()]
    return "\n".join(["| code | meaning |", "| --- | --- |", *rows])


def crash_points() -> str:
    """Where the crash tests kill, and what makes up for it."""
    described = (text.partition(": ") for text in _member_docs(Point).values())
    rows = [
        f"| `{point}` | {process} | {_sentences(what)} |"
        for point, (process, _, what) in zip(Point, described, strict=True)
    ]
    return "\n".join(
        ["| point | process | at that moment, and then |", "| --- | --- | --- |", *rows]
    )


def conformance_checks() -> str:
    """What the conformance kit looks at."""
    rows = [
        f"| {level} | `{check.name}` | it {check.title} |"
        for level, checks in CHECKS
        for check in checks
    ]
    return "\n".join(["| level | check | what must hold |", "| --- | --- | --- |", *rows])


def exit_codes() -> str:
    """Exit codes of the command line."""
    rows = [f"| {code.value} | {meaning} |" for code, meaning in MEANING.items()]
    return "\n".join(["| code | meaning |", "| --- | --- |", *rows])


PARTS: dict[str, Callable[[], str]] = {
    "state-diagram": state_diagram,
    "transitions": transition_table,
    "conditions": condition_table,
    "settings": settings_table,
    "errors": error_table,
    "requests": request_models,
    "answers": answer_models,
    "submit-parts": part_models,
    "bare-requests": bare_models,
    "reports": report_models,
    "events": event_models,
    "job-headers": job_headers,
    "failure-codes": failure_codes,
    "crash-points": crash_points,
    "exit-codes": exit_codes,
    "conformance-checks": conformance_checks,
    "benchmark-throughput": lambda: tables.throughput(summary.read()),
    "benchmark-latency": lambda: tables.latency(summary.read()),
    "benchmark-processor": lambda: tables.processor(summary.read()),
    "benchmark-settings": lambda: tables.settings(summary.read()),
    "scale-goals": lambda: scale.reached(scale.read()),
    "scale-cost": lambda: scale.costs(scale.read()),
    "scale-submit": lambda: scale.submits(scale.read()),
    "scale-stalls": lambda: scale.stalls(scale.read()),
    "scale-waiting": lambda: scale.waiting(scale.read()),
    "scale-latency": lambda: scale.latency(scale.read()),
    "scale-settings": lambda: scale.settings(scale.read()),
}


def generate() -> dict[Path, str]:
    """Return every generated file as it should be."""
    found = {SCHEMAS: schemas.document(), ASYNCAPI: document.as_yaml(NAMES)}
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text()
        if "<!-- generated: " in text:
            found[path] = MARK.sub(
                lambda m: f"{m.group(1)}{PARTS[m['name']]()}\n{m.group(3)}", text
            )
    return found


def main(arguments: list[str]) -> int:
    """Rewrite, or with ``--check`` compare; return the exit code."""
    differing = 0
    for path, wanted in generate().items():
        present = path.read_text() if path.exists() else ""
        if present == wanted:
            continue
        differing += 1
        if "--check" in arguments:
            lines = difflib.unified_diff(
                present.splitlines(), wanted.splitlines(), str(path), "as generated", lineterm=""
            )
            print("\n".join(list(lines)[:40]))  # noqa: T201  # a command
        else:
            path.write_text(wanted)
    if differing and "--check" in arguments:
        print(f"{differing} generated files differ from their sources; run: make fix")  # noqa: T201
        return 1
    return 0


def _member_docs(kind: type[StrEnum]) -> dict[str, str]:
    """The docstring under each member of an enum, which Python itself does not keep."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for member, text in pairwise(definition.body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            found[ast.literal_eval(member.value)] = ast.literal_eval(text.value)
    return found


def _models(models: list[type]) -> str:
    parts = []
    for model in models:
        parts += [f"#### `{model.__name__}`", "", _sentences(model.__doc__), ""]
        parts += [_field_table(model), ""]
    return "\n".join(parts).rstrip()


def _field_table(model: type) -> str:
    fields = msgspec.structs.fields(model)
    if not fields:
        return "No fields."
    hints = get_type_hints(model, include_extras=True)
    rows = []
    for field in fields:
        needed = "yes" if field.required else _default(field)
        rows.append(f"| `{field.name}` | {_type_text(hints[field.name])} | {needed} |")
    return "\n".join(["| field | type | required, or default |", "| --- | --- | --- |", *rows])


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory()
    if value is msgspec.UNSET:
        return "absent"
    if isinstance(value, msgspec.Raw):
        return f"`{bytes(value).decode()}`"
    return f"`{msgspec.json.encode(value).decode()}`"


def _type_text(hint: Any) -> str:
    schema = msgspec.json.schema(hint, schema_hook=schemas.schema_of_raw)
    return _schema_text(schema).replace("|", "\\|")


def _schema_text(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_schema_text(item) for item in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{item}`" for item in schema["enum"])
    kind = schema.get("type", "any JSON")
    if kind == "null":
        return "null"
    if kind == "array":
        return f"array of {_schema_text(schema['items'])}" + _bounds(schema, "Items")
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_schema_text(inner)}" if isinstance(inner, dict) else "object"
    bounds = _bounds(schema, "Length") + _bounds(schema, "imum")
    described = f" ({schema['description']})" if "description" in schema else ""
    return f"{kind}{bounds}{described}"


def _bounds(schema: dict[str, Any], what: str) -> str:
    low, high = schema.get(f"min{what}"), schema.get(f"max{what}")
    above = schema.get(f"exclusiveMin{what}")
    if above is not None:
        return f", more than {above} to {high}"
    if low is None and high is None:
        return ""
    unit = {"Items": " items", "Length": " characters", "imum": ""}[what]
    return f", {low if low is not None else 0} to {high if high is not None else '…'}{unit}"


def _sentences(text: str | None) -> str:
    """The first paragraph of a docstring as Markdown."""
    return " ".join((text or "").strip().split("\n\n")[0].split()).replace("``", "`")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
