"""Result references: parts of finished jobs' results put into the args of jobs that depend on them.

Only the containers on the way to a place are taken apart, one level at a time; everything else
stays the bytes that somebody sent, whatever its numbers and nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from broker_queue.errors import Invalid

_INDEX = re.compile(r"(0|[1-9][0-9]*)\Z")
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])

Steps = tuple[str, ...]


class PointerError(Exception):
    """A JSON pointer leads nowhere; the text says at which step."""


def parse_pointer(pointer: str, field: str) -> Steps:
    """Return the steps of a JSON pointer (RFC 6901).

    Raises:
        Invalid: it does not begin with a slash, or has a tilde that escapes nothing.
    """
    if pointer == "":
        return ()
    if not pointer.startswith("/"):
        raise Invalid(f'{field}: a JSON pointer begins with "/", got {pointer!r}', {"field": field})
    if re.search(r"~(?![01])", pointer):
        raise Invalid(f'{field}: "~" is written "~0", got {pointer!r}', {"field": field})
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/"))


def look_up(text: bytes, steps: Iterable[str]) -> bytes:
    """Return the JSON text of the part of `text` that the steps lead to.

    Raises:
        PointerError: there is no such part.
    """
    for step in steps:
        container = _take_apart(text, step)
        if isinstance(container, dict):
            if step not in container:
                raise PointerError(f"no member {step!r}; there are {_some(container)}")
            text = bytes(container[step])
        else:
            text = bytes(container[_index(step, container)])
    return text


def check_places(args: bytes, places: Iterable[tuple[str, str]]) -> None:
    """Check that every place in `args` can take a value and none lies inside another.

    Args:
        args: JSON text.
        places: pointer and the name of its field, for the error.

    Raises:
        Invalid: a place leads nowhere, or two overlap.
    """
    fields: dict[Steps, str] = {}
    for at, field in places:
        steps = parse_pointer(at, field)
        if steps in fields:
            raise Invalid(f"{field}: {at!r} is given twice", {"field": field})
        fields[steps] = field
    try:
        _fill(args, dict.fromkeys(fields, b"null"))
    except PointerError as error:
        field = next(iter(fields.values())) if len(fields) == 1 else "references"
        raise Invalid(
            f"{field}: {error}; put null in the args where the value is to go", {"field": field}
        ) from None


def fill_in(args: bytes, values: Iterable[tuple[str, bytes, str]]) -> bytes:
    """Return `args` with the referenced parts of results in place.

    Args:
        args: JSON text with a place holder (null) at each place.
        values: place (pointer into the args), result (JSON text), pointer into the result.

    Raises:
        PointerError: a pointer leads nowhere.
    """
    found: dict[Steps, bytes] = {}
    for at, result, pointer in values:
        try:
            found[parse_pointer(at, "at")] = look_up(result, parse_pointer(pointer, "pointer"))
        except PointerError as error:
            raise PointerError(f"pointer {pointer!r}: {error}") from None
    return _fill(args, found)


def _fill(text: bytes, values: dict[Steps, bytes]) -> bytes:
    """Return `text` with each value at its place, descending once for all that share a step."""
    if () in values:
        if len(values) > 1:
            raise PointerError("one reference replaces what another one points into")
        return values[()]
    below: dict[str, dict[Steps, bytes]] = {}
    for steps, value in values.items():
        below.setdefault(steps[0], {})[steps[1:]] = value
    container = _take_apart(text, next(iter(below)))
    for step, inner in below.items():
        if isinstance(container, dict):
            if step not in container and inner.keys() != {()}:
                raise PointerError(f"no member {step!r}; there are {_some(container)}")
            old = container.get(step, msgspec.Raw(b"null"))
            container[step] = msgspec.Raw(_fill(bytes(old), inner))
        else:
            index = _index(step, container)
            container[index] = msgspec.Raw(_fill(bytes(container[index]), inner))
    return msgspec.json.encode(container)


def _take_apart(text: bytes, step: str) -> dict[str, msgspec.Raw] | list[msgspec.Raw]:
    first = text.lstrip(b" \t\r\n")[:1]
    if first == b"{":
        return _MEMBERS.decode(text)
    if first == b"[":
        return _ITEMS.decode(text)
    raise PointerError(f"{step!r} is asked of a value that has no members")


def _index(step: str, items: list[msgspec.Raw]) -> int:
    if not _INDEX.match(step):
        raise PointerError(f"{step!r} is no index of an array")
    if int(step) >= len(items):
        raise PointerError(f"no item {step}; the array has {len(items)}")
    return int(step)


def _some(members: dict[str, msgspec.Raw]) -> str:
    names = [repr(name) for name in list(members)[:5]]
    return ", ".join(names) + (", …" if len(members) > 5 else "") if names else "none"
