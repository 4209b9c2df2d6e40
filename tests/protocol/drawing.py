"""Bodies drawn by hypothesis: as a schema has them, and then changed in one place."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from hypothesis import strategies as st

from broker_queue.graph import new_job_id
from broker_queue.protocol.fields import UUID_PATTERN
from tests.support import schemas

DEFINITIONS: Mapping[str, schemas.Schema] = schemas.definitions(schemas.IN_SCHEMAS)

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NOTHING_SPECIAL: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 1 << 70),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: number % 1),
    st.sampled_from(["", "failed", "success", "0" * 32]),
    WORDS,
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(WORDS, st.integers(0, 3), max_size=2),
)


@cache
def body(name: str) -> st.SearchStrategy[Any]:
    """Return values that the schema of this name allows."""
    return st.deferred(lambda: _value(DEFINITIONS[name]))


@st.composite
def changed(draw: st.DrawFn, name: str) -> Any:
    """Return a value that the schema allows, but for one place, where it may not any more."""
    value = draw(body(name))
    places = list(_places(value))
    if not places:
        return draw(NOTHING_SPECIAL)
    inside, key = draw(st.sampled_from(places))
    match draw(st.sampled_from(["leave out", "replace", "add"])):
        case "leave out":
            del inside[key]
        case "add" if isinstance(inside, dict):
            inside["colour"] = draw(NOTHING_SPECIAL)
        case _:
            inside[key] = draw(NOTHING_SPECIAL)
    return value


def _places(value: Any) -> Any:
    """Yield each place in a value: what it is in, and its key there."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _value(schema: schemas.Schema) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return body(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return st.one_of([_value(each) for each in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return _object(schema)
        case "array":
            low = schema.get("minItems", 0)
            return st.lists(_value(schema["items"]), min_size=low, max_size=low + 2)
        case "string":
            return _text(schema)
        case "integer":
            return st.integers(schema.get("minimum", -5), schema.get("maximum", 1 << 60))
        case "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
            return st.floats(low, schema.get("maximum", 1e9)).filter(lambda number: number > low)
    return _SIMPLE.get(schema.get("type"), NOTHING_SPECIAL)


_SIMPLE: dict[Any, st.SearchStrategy[Any]] = {"boolean": st.booleans(), "null": st.none()}


def _object(schema: schemas.Schema) -> st.SearchStrategy[Any]:
    if isinstance(values := schema.get("additionalProperties"), dict):
        return st.dictionaries(WORDS, _value(values), max_size=2)
    fields = {name: _value(each) for name, each in schema["properties"].items()}
    required = set(schema.get("required", []))
    drawn = st.fixed_dictionaries(
        {name: found for name, found in fields.items() if name in required},
        optional={name: found for name, found in fields.items() if name not in required},
    )
    return _fitting(drawn, schema["allOf"]) if "allOf" in schema else drawn


@st.composite
def _fitting(
    draw: st.DrawFn, drawn: st.SearchStrategy[dict[str, Any]], conditions: list[schemas.Schema]
) -> dict[str, Any]:
    """Return an object of which some fields depend on the constant in another."""
    value = draw(drawn)
    for condition in conditions:
        ((name, wanted),) = condition["if"]["properties"].items()
        if value.get(name) == wanted["const"]:
            fitting = condition["then"]["properties"]
            value |= {name: draw(_value(fitting[name])) for name in fitting if name in value}
    return value


def _text(schema: schemas.Schema) -> st.SearchStrategy[str]:
    match schema.get("pattern"):
        case None:
            size = schema.get("minLength", 0)
            text = st.text(
                st.characters(exclude_categories=["Cs"]), min_size=size, max_size=size + 5
            )
            return text.filter(lambda found: len(found) <= schema.get("maxLength", 1_000))
        case pattern if pattern == UUID_PATTERN:
            return st.builds(lambda: cast(str, new_job_id()))
        case pattern:
            return st.from_regex(pattern.removesuffix("$") + r"\Z")
