"""The generated parts of the docs are what their sources say."""

from __future__ import annotations

from tests.support import generated


def test_every_generated_part_equals_its_source() -> None:
    for path, wanted in generated.generate().items():
        assert path.read_text() == wanted, f"{path.name}: run make fix"


def test_every_part_is_shown_somewhere() -> None:
    shown = "".join(path.read_text() for path in generated.DOCS.rglob("*.md"))
    assert [name for name in generated.PARTS if f"<!-- generated: {name} -->" not in shown] == []
