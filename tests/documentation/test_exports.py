"""The public names: complete, sorted, documented, each where it says."""

from __future__ import annotations

import ast
from pathlib import Path

import broker_queue

SOURCE = Path(broker_queue.__file__).read_text()


def _imported() -> set[str]:
    """The names that type checkers see."""
    return {
        alias.name
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("broker_queue")
        for alias in node.names
    }


def test_all_is_sorted_and_what_type_checkers_see() -> None:
    assert broker_queue.__all__ == sorted(broker_queue.__all__)
    assert set(broker_queue.__all__) == _imported()


def test_every_public_name_can_be_had_and_is_documented() -> None:
    for name in broker_queue.__all__:
        assert getattr(broker_queue, name).__doc__, name
