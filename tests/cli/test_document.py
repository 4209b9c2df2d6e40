"""YAML as JSON with comments."""

from __future__ import annotations

import pytest

from broker_queue.cli.document import DocumentError, read_document


def test_only_json_has_a_meaning_in_yaml() -> None:
    found = read_document("a: [on, 12:30, 2026-01-01, 0x10, 012, 1e3, .5, ~, null, true, 1_000]")
    assert found.value == {
        "a": ["on", "12:30", "2026-01-01", "0x10", 12, 1000.0, 0.5, None, None, True, "1_000"]
    }


def test_quoted_scalars_stay_text() -> None:
    assert read_document("a: '1'\nb: \"true\"").value == {"a": "1", "b": "true"}
    assert read_document("a: '.nan'\nb: \".inf\"").value == {"a": ".nan", "b": ".inf"}


def test_every_part_knows_its_line() -> None:
    found = read_document("a:\n  b:\n    - 1\n    - 2\n")
    assert found.line_of(("a", "b", 1)) == 4
    assert found.line_of(("a", "b", 7)) == 2
    assert found.line_of(()) == 1


def test_anchors_and_merges_work() -> None:
    found = read_document(
        "base: &b {x: 1, y: 1}\njob: {<<: *b, y: 2}\nlist: {<<: [*b, {x: 5, z: 3}]}"
    )
    assert found.value["job"] == {"x": 1, "y": 2}
    assert found.value["list"] == {"x": 1, "y": 1, "z": 3}


def test_json_is_read_with_every_number() -> None:
    assert read_document('{"a": 123456789012345678901234567890}').value == {
        "a": 123456789012345678901234567890
    }


def test_a_yaml_flow_mapping_looks_like_json_and_is_read() -> None:
    assert read_document("{a: 1}").value == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\na: 2", 2, "'a' is given twice"),
        ('{"a": 1, "a": 2}', None, "'a' is given twice"),
        ('{"a": NaN}', None, "NaN is no JSON number"),
        ('{"a": [}', 1, "no JSON: Expecting value"),
        ("a:\n  1: x", 2, 'a key must be text; put 1 in quotes: "1"'),
        ("a: !!python/name:os.system x", 1, "has no meaning here"),
        ("a: !mine x", 1, "the tag !mine has no meaning here"),
        ("a: ]", 1, "no YAML"),
        ("a: &x [*x]", 1, "nested more than 200 levels deep"),
        ("a: " + "[" * 100_000 + "]" * 100_000, 1, "nested more than 200 levels deep"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", None, "nested more than 200 levels deep"),
        ("a: .nan", 1, ".nan is no JSON number"),
        ("a: [1, -.Inf]", 1, "-.Inf is no JSON number"),
        ("a: 1e999", 1, "too large for a number"),
        ("a: {<<: 1}", 1, '"<<" takes a mapping'),
        ("a: 1\n---\nb: 2", 2, "no YAML"),
    ],
)
def test_what_json_cannot_say_is_refused(text: str, line: int | None, problem: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_document(text)
    assert problem in caught.value.problem
    assert caught.value.line == line
