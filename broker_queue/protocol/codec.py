"""From bytes to messages and back, with errors that name the field.

`check_json` is the one place that decides what counts as JSON text: RFC 8259, UTF-8, no byte order
mark, no NaN. Numbers of any size pass, since nothing here turns them into numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec

from broker_queue.errors import Invalid, TooLarge

T = TypeVar("T")

_RAW_DECODER = msgspec.json.Decoder(msgspec.Raw)
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}
_LONE_SURROGATE = re.compile(rb"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})(?!\\u[dD][c-fC-F])")
_PATH = re.compile(r" - at `(?P<path>[^`]*)`$")


_SPARE_LEVELS = 80
"""Levels of nesting, and of calls, that whoever reads an answer may need above those of args and
results: what is taken can be read again. The library's own limit is that of Python's stack."""

_SURELY_FLAT = 500


class RawJson(bytes):
    """JSON text that is passed on byte for byte, in place of a value to be serialised."""


def decode(body: bytes, model: type[T]) -> T:
    """Return the message in `body`.

    Raises:
        Invalid: no JSON, or not this message; ``details["field"]`` is the path to the culprit.
    """
    decoder = _DECODERS.get(model)
    if decoder is None:
        decoder = _DECODERS[model] = msgspec.json.Decoder(model)
    try:
        body.decode()
        return cast(T, decoder.decode(body))
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from None
    except msgspec.DecodeError as error:
        raise Invalid(f"the body is no JSON: {_problem(body, error)}", {"field": ""}) from None
    except RecursionError:
        raise too_deep("") from None


def read_table(table: Mapping[str, Any], model: type[T], name: str) -> T:
    """Return the message in an AMQP table of plain values; `name` is what errors call the table.

    Raises:
        Invalid: not this message; ``details["field"]`` is the path to the culprit.
    """
    try:
        return msgspec.convert(dict(table), model)
    except msgspec.ValidationError as error:
        raise _field_error(str(error), name) from None


def check_json(text: bytes, field: str, limit: int) -> None:
    """Check that `text` is JSON of at most `limit` bytes, without building its value.

    Raises:
        TooLarge: over the limit.
        Invalid: no JSON.
    """
    if len(text) > limit:
        raise TooLarge(
            f"{field} has {len(text)} bytes, the limit is {limit}; "
            "pass a URL or key to large data instead of the data",
            {"field": field, "size": len(text), "limit": limit},
        )
    try:
        text.decode()
        _RAW_DECODER.decode(text)
        if text.count(b"[") + text.count(b"{") > _SURELY_FLAT:
            _RAW_DECODER.decode(b"[" * _SPARE_LEVELS + text + b"]" * _SPARE_LEVELS)
    except UnicodeDecodeError as error:
        raise _not_utf8(error, field) from None
    except msgspec.DecodeError as error:
        problem = _problem(text, error)
        raise Invalid(f"{field} is no JSON: {problem}", {"field": field}) from None
    except RecursionError:
        raise too_deep(field) from None


def _problem(text: bytes, error: msgspec.DecodeError) -> str:
    """Return what is wrong; of half a surrogate pair the library says that data were truncated."""
    lone = _LONE_SURROGATE.search(text)
    return f"{lone[1].decode()} is half of a surrogate pair" if lone else str(error)


def to_json(value: Any, field: str = "args") -> bytes:
    """Return the JSON text of a value: `RawJson` as it is, pydantic models by their own rules.

    Raises:
        Invalid: the value has no JSON form (NaN, infinity, an object, a lone surrogate).
    """
    if isinstance(value, RawJson):
        return bytes(value)
    try:
        text = json.dumps(
            value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_jsonable
        )
        return text.encode()
    except (TypeError, ValueError) as error:  # UnicodeEncodeError is a ValueError
        raise Invalid(f"{field} does not serialise to JSON: {error}", {"field": field}) from None
    except RecursionError:
        raise too_deep(field) from None


def _jsonable(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # a pydantic model, without importing pydantic
    if dump is not None:
        return dump(mode="json", by_alias=True)
    return msgspec.to_builtins(value)  # dataclasses, UUID, datetime, enum, set; else TypeError


def _field_error(text: str, inside: str = "") -> Invalid:
    found = _PATH.search(text)
    path = found["path"].removeprefix("$") if found else ""
    path = f"{inside}{path}".removeprefix(".")
    problem = text[: found.start()] if found else text
    problem = problem[0].lower() + problem[1:].replace("`", "")
    return Invalid(f"{path or 'the body'}: {problem}", {"field": path})


def _not_utf8(error: UnicodeDecodeError, field: str = "") -> Invalid:
    name = field or "the body"
    return Invalid(f"{name} is not UTF-8: {error.reason} at byte {error.start}", {"field": field})


def too_deep(field: str) -> Invalid:
    """Return the error for JSON beyond what a recursive parser takes."""
    return Invalid(
        f"{field or 'the body'} is nested too deeply; flatten it to fewer than 900 levels",
        {"field": field},
    )
