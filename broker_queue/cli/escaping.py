"""What strangers call their jobs and workers, made fit for a terminal, which obeys control characters.

Whatever is shown to a person passes here once, as a whole, before it is laid out; so no column or
page can forget it. What programs read goes out as it came.
"""

from __future__ import annotations

import unicodedata
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar, cast

from msgspec import Struct, structs

from broker_queue.errors import BrokerQueueError, RequestError, Unavailable
from broker_queue.status import Error

T = TypeVar("T")

JOINER = "\u200d"
"""Joins emoji; the other invisible characters turn the direction of writing, or hide."""


def escaped(value: T) -> T:
    """Return a message, a status, or a collection of them, with each text in it `printable`.

    The message of an error keeps its line breaks.
    """
    return cast(T, _escaped(value))


def printable(text: str) -> str:
    """Return a text whose control characters are spelled out as in Python's strings."""
    if text.isprintable():
        return text
    return "".join(each if _is_harmless(each) else _code(each) for each in text)


def printable_lines(text: str) -> str:
    """Return a text of several lines as `printable` does; line breaks stay, tabs become blanks."""
    return "\n".join(printable(line.replace("\t", "    ")) for line in text.split("\n"))


def error_text(error: BrokerQueueError) -> str:
    """Return what is wrong; only texts of our own, about a file or a machine, have several lines."""
    is_refusal = isinstance(error, RequestError) and not isinstance(error, Unavailable)
    return printable(str(error)) if is_refusal else printable_lines(str(error))


def _is_harmless(character: str) -> bool:
    return (
        character.isprintable()
        or character == JOINER
        or unicodedata.category(character) == "Zs"  # blanks of other widths
    )


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value if isinstance(value, Enum) else printable(value)
    if isinstance(value, Struct):
        names: Any = value.__struct_fields__
        changes = _changes(value, names)
        return structs.replace(value, **changes) if changes else value
    if is_dataclass(value) and not isinstance(value, type):
        changes = _changes(value, [item.name for item in fields(value)])
        return replace(value, **changes) if changes else value
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_escaped(item) for item in value)
    return value


def _changes(value: Any, names: list[str]) -> dict[str, Any]:
    """Return the fields that are not printable as they are."""
    found = {}
    for name in names:
        before = getattr(value, name)
        if isinstance(value, Error) and name == "message":
            after: Any = printable_lines(before)
        else:
            after = _escaped(before)
        if after is not before and after != before:
            found[name] = after
    return found
