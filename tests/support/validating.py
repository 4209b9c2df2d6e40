"""Checks values against the schemas of a document, and says where they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7, DRAFT202012

from tests.support.schemas import Schema

_DOCUMENT = "urn:document"


class Schemas:
    """The schemas in a document, found by their place in it.

    Args:
        document: `schemas.json`, or an AsyncAPI document, whose schemas are those of draft 7.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        is_asyncapi = "asyncapi" in document
        specification = DRAFT7 if is_asyncapi else DRAFT202012
        self._validator: Any = _Draft7 if is_asyncapi else _Draft202012
        resource: Resource[Any] = specification.create_resource(document)
        self._registry: Registry[Any] = Registry().with_resource(_DOCUMENT, resource).crawl()

    def problem(self, value: Any, place: str) -> str | None:
        """Return what is wrong with a value by the schema at `place` (``#/$defs/Submit``)."""
        return self.problem_by(value, {"$ref": place})

    def problem_by(self, value: Any, schema: Schema) -> str | None:
        """Return what is wrong with a value by a schema whose references are those of the document."""
        validator: Validator = self._validator(_absolute(schema), registry=self._registry)
        error = next(iter(validator.iter_errors(value)), None)
        return None if error is None else f"{error.json_path}: {error.message}"[:500]


def _absolute(schema: Any) -> Any:
    """Return a schema of which each reference names the document."""
    if isinstance(schema, list):
        return [_absolute(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(place := schema.get("$ref"), str):
        return {"$ref": f"{_DOCUMENT}{place}"}
    return {name: _absolute(item) for name, item in schema.items()}


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    """Match as ECMA-262 does, as JSON Schema says: "$" is the very end."""
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Draft7 = extend(Draft7Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]  # its stub has no types
_Draft202012 = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]  # its stub has no types
