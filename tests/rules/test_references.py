"""JSON pointers and filled-in args: every byte that is not replaced stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_queue.errors import Invalid
from scheduler.rules.references import (
    Parts,
    PointerError,
    check_places,
    fill_in,
    parse_pointer,
)


def filled_in(args: bytes, references: list[tuple[str, bytes, str]]) -> bytes:
    """`args` with references filled in: place, result, pointer into the result."""
    parts = Parts(1_000_000)
    for place, result, pointer in references:
        parts.take(result, [(place, pointer)])
    return fill_in(args, parts.found)


def test_pointers_are_read_as_rfc_6901_says() -> None:
    document = b'{"foo":["bar","baz"],"":0,"a/b":1,"m~n":8," ":7}'
    examples = {
        "/foo/0": b'"bar"', "/": b"0", "/a~1b": b"1", "/m~0n": b"8", "/ ": b"7", "": document,
    }  # fmt: skip
    for pointer, value in examples.items():
        parts = Parts(1_000)
        parts.take(document, [("/here", pointer)])
        assert parts.found == {"/here": value}


def test_many_parts_of_one_result_are_taken_at_once() -> None:
    result = b'{"a":{"x":[10,11],"y":2},"b":3}'
    parts = Parts(1_000)
    parts.take(result, [("/0", "/a/x/1"), ("/1", "/a/y"), ("/2", ""), ("/3", "/a/y"), ("/4", "/b")])
    assert parts.found == {"/0": b"11", "/1": b"2", "/2": result, "/3": b"2", "/4": b"3"}


def test_parts_of_more_bytes_than_a_message_may_have_are_refused() -> None:
    parts = Parts(10)
    parts.take(b'"12345678"', [("/0", "")])
    with pytest.raises(
        PointerError, match="the limit is 10 bytes together; refer to smaller parts"
    ):
        parts.take(b"1", [("/1", "")])


@pytest.mark.parametrize("pointer", ["foo", "/a~2", "/a~"])
def test_what_is_no_pointer_is_refused(pointer: str) -> None:
    with pytest.raises(Invalid, match="references"):
        parse_pointer(pointer, "references[0].at")


def test_untouched_parts_keep_their_very_bytes() -> None:
    args = b'{"a":null,"b":[1.00, null ,{"c":1e999}], "z":12345678901234567890123}'
    filled = filled_in(args, [("/a", b'{"x":[1,{"y":  2.50}]}', "/x/1/y"), ("/b/1", b'"r"', "")])
    assert filled == b'{"a":2.50,"b":[1.00,"r",{"c":1e999}],"z":12345678901234567890123}'


def test_the_whole_args_can_be_a_result() -> None:
    assert filled_in(b"null", [("", b' {"a": 1} ', "")]) == b' {"a": 1} '


@pytest.mark.parametrize(
    ("pointer", "problem"),
    [
        ("/x", "no member 'x'; there are 'k'"),
        ("/k/a", "no index"),
        ("/k/7", "the array has 2"),
        ("/k/0/z", "has no members"),
    ],
)
def test_a_pointer_that_leads_nowhere_says_at_which_step(pointer: str, problem: str) -> None:
    with pytest.raises(PointerError, match=problem):
        filled_in(b'{"a":null}', [("/a", b'{"k":[1,2]}', pointer)])


@pytest.mark.parametrize(
    "places", [["/a/b"], ["/c/0"], ["/b/9"], ["", "/a"], ["/a", "/a"], ["/b", "/b/0"]]
)
def test_places_that_cannot_take_a_value_are_refused(places: list[str]) -> None:
    with pytest.raises(Invalid):
        check_places(b'{"a":null,"b":[1]}', [(place, f"at {place}") for place in places])


def test_an_object_takes_new_members() -> None:
    check_places(b'{"a":null}', [("/new", "at")])
    assert filled_in(b'{"a":null}', [("/new", b"1", "")]) == b'{"a":null,"new":1}'


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_json, _json)
def test_a_value_filled_in_is_found_where_it_was_put(args: Any, value: Any) -> None:
    document = json.dumps({"args": args, "place": None}).encode()
    filled = filled_in(document, [("/place", json.dumps(value).encode(), "")])
    assert json.loads(filled) == {"args": args, "place": value}
