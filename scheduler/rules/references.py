"""Result references: parts of finished jobs' results put into the args of jobs that depend on them.

Only the containers on the way to a place are taken apart, one level at a time; everything else
stays the bytes that somebody sent, whatever its numbers and nesting.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

import msgspec

from broker_queue.errors import Invalid

_INDEX = re.compile(r"(0|[1-9][0-9]*)\Z")
_ESCAPES_NOTHING = re.compile(r"~(?![01])")
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
    try:
        return _steps(pointer)
    except ValueError as error:
        raise Invalid(f"{field}: {error}, got {pointer!r}", {"field": field}) from None


@lru_cache(maxsize=5_000)
def _steps(pointer: str) -> Steps:
    """Return the steps of a pointer; jobs of one kind have the same ones."""
    if pointer == "":
        return ()
    if not pointer.startswith("/"):
        raise ValueError('a JSON pointer begins with "/"')
    if "~" not in pointer:
        return tuple(pointer[1:].split("/"))
    if _ESCAPES_NOTHING.search(pointer):
        raise ValueError('"~" is written "~0"')
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/"))


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
        _check(args, fields)
    except PointerError:
        raise _misplaced(args, fields) from None


def _misplaced(args: bytes, fields: Mapping[Steps, str]) -> Invalid:
    """Return the error for the first place that leads nowhere, or else lies inside another one."""
    for steps, field in fields.items():
        try:
            _check(args, [steps])
        except PointerError as error:
            way_out = "put null in the args where the value is to go"
            return Invalid(f"{field}: {error}; {way_out}", {"field": field})
    inner, outer = next(
        (field, fields[steps[:length]])
        for steps, field in fields.items()
        for length in range(len(steps))
        if steps[:length] in fields
    )
    return Invalid(f"{inner}: {outer} replaces what it points into", {"field": inner})


class Parts:
    """The parts of results that go into the args of one job, by place.

    Args:
        max_bytes: of all parts together.
    """

    def __init__(self, max_bytes: int) -> None:
        self.found: dict[str, bytes] = {}
        self._room = max_bytes
        self._max_bytes = max_bytes

    def take(self, result: bytes, wanted: Iterable[tuple[str, str]]) -> None:
        """Take parts of one result.

        Args:
            result: JSON text.
            wanted: place and pointer of each part.

        Raises:
            PointerError: a pointer leads nowhere, or the parts are too long.
        """
        places: dict[str, list[str]] = {}
        for place, pointer in wanted:
            if pointer:
                places.setdefault(pointer, []).append(place)
            else:  # the usual case: all of it
                self._put(place, result)
        if places:
            self._take_parts(result, places)
        if self._room < 0:
            raise PointerError(
                f"the parts of results are too long, the limit is {self._max_bytes} bytes together; "
                "refer to smaller parts"
            )

    def _take_parts(self, result: bytes, places: Mapping[str, list[str]]) -> None:
        try:
            looked_up = _look_up(result, {parse_pointer(it, "pointer"): it for it in places})
        except PointerError as error:
            named = repr(next(iter(places))) if len(places) == 1 else f"one of {len(places)}"
            raise PointerError(f"pointer {named}: {error}") from None
        for pointer, part in looked_up.items():
            for place in places[pointer]:
                self._put(place, part)

    def _put(self, place: str, part: bytes) -> None:
        self._room -= len(part)
        self.found[place] = part


def fill_in(args: bytes, parts: Mapping[str, bytes]) -> bytes:
    """Return `args` with parts of results in place.

    Args:
        args: JSON text with a place holder (null) at each place.
        parts: place (pointer into the args) → JSON text.

    Raises:
        PointerError: a place leads nowhere.
    """
    return _fill(args, {parse_pointer(at, "at"): part for at, part in parts.items()})


def _look_up(text: bytes, wanted: Mapping[Steps, str]) -> dict[str, bytes]:
    """Return the parts of `text` by pointer, descending once for all that share a step."""
    found: dict[str, bytes] = {}
    below: dict[str, dict[Steps, str]] = {}
    for steps, pointer in wanted.items():
        if steps:
            below.setdefault(steps[0], {})[steps[1:]] = pointer
        else:
            found[pointer] = text
    container = _take_apart(text, next(iter(below))) if below else []
    for step, inner in below.items():
        found |= _look_up(_member(container, step), inner)
    return found


def _member(container: dict[str, msgspec.Raw] | list[msgspec.Raw], step: str) -> bytes:
    if isinstance(container, list):
        return bytes(container[_index(step, container)])
    if step not in container:
        raise PointerError(f"no member {step!r}; there are {_some(container)}")
    return bytes(container[step])


def _fill(text: bytes, values: Mapping[Steps, bytes]) -> bytes:
    """Return `text` with each value at its place, descending once for all that share a step."""
    if () in values:
        _refuse_overlap(values)
        return values[()]
    below: dict[str, dict[Steps, bytes]] = {}
    for steps, value in values.items():
        below.setdefault(steps[0], {})[steps[1:]] = value
    container = _take_apart(text, next(iter(below)))
    for step, inner in below.items():
        if isinstance(container, list):
            index = _index(step, container)
            container[index] = _filled(container[index], inner)
        else:
            container[step] = _filled(_place(container, step, inner), inner)
    return msgspec.json.encode(container)


def _filled(old: msgspec.Raw, values: Mapping[Steps, bytes]) -> msgspec.Raw:
    if len(values) == 1 and () in values:
        return msgspec.Raw(values[()])
    return msgspec.Raw(_fill(bytes(old), values))


def _check(text: bytes, places: Collection[Steps]) -> None:
    """Raise what `_fill` would raise."""
    if () in places:
        _refuse_overlap(places)
        return
    below: dict[str, list[Steps]] = {}
    for steps in places:
        below.setdefault(steps[0], []).append(steps[1:])
    container = _take_apart(text, next(iter(below)))
    for step, inner in below.items():
        if isinstance(container, list):
            old = container[_index(step, container)]
        else:
            old = _place(container, step, inner)
        if inner != [()]:
            _check(bytes(old), inner)


def _refuse_overlap(places: Collection[Steps]) -> None:
    if len(places) > 1:
        raise PointerError("one reference replaces what another one points into")


def _place(
    container: Mapping[str, msgspec.Raw], step: str, inner: Collection[Steps]
) -> msgspec.Raw:
    """Return what a member was: nothing may have been there, unless places lie inside it."""
    old = container.get(step)
    if old is not None:
        return old
    if len(inner) > 1 or () not in inner:
        raise PointerError(f"no member {step!r}; there are {_some(container)}")
    return msgspec.Raw(b"null")


def _take_apart(text: bytes, step: str) -> dict[str, msgspec.Raw] | list[msgspec.Raw]:
    first = text.lstrip(b" \t\r\n")[:1]
    if first == b"{":
        return _MEMBERS.decode(text)
    if first == b"[":
        return _ITEMS.decode(text)
    raise PointerError(f"{step!r} is asked of a value that has no members")


def _index(step: str, items: list[msgspec.Raw]) -> int:
    index = _number(step)
    if index is None:
        raise PointerError(f"{step!r} is no index of an array")
    if index >= len(items):
        raise PointerError(f"no item {step}; the array has {len(items)}")
    return index


@lru_cache(maxsize=5_000)
def _number(step: str) -> int | None:
    return int(step) if _INDEX.match(step) else None


def _some(members: Mapping[str, msgspec.Raw]) -> str:
    names = [repr(name) for name in list(members)[:5]]
    return ", ".join(names) + (", …" if len(members) > 5 else "") if names else "none"
