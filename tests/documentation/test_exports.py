"""The public names: complete, sorted, documented, each where it says."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints, is_typeddict

import pytest

import broker_queue
from broker_queue import sync

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


def _annotated(annotation: Any) -> Iterator[Any]:
    """What an annotation is made of: classes, ids, the parts of lists and unions."""
    parts = get_args(annotation)
    for part in parts:
        yield from _annotated(part)
    if not parts:
        yield annotation


def _fields(kind: Any) -> Iterator[Any]:
    """The types of what a value consists of."""
    if dataclasses.is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "__struct_fields__"):
        for annotation in get_type_hints(kind).values():
            yield from _annotated(annotation)


def _is_ours(kind: Any) -> bool:
    return getattr(kind, "__module__", "").startswith("broker_queue.")


def _used_by(client: type) -> set[Any]:
    """Our types that the public methods of a client take, and those that their values hold."""
    found: set[Any] = set()
    for name, method in inspect.getmembers(client, inspect.isfunction):
        if name.startswith("_") and name != "__init__":
            continue
        hints = get_type_hints(method)
        returned = {kind for kind in _annotated(hints.pop("return")) if _is_ours(kind)}
        taken = [kind for hint in hints.values() for kind in _annotated(hint)]
        found.update(kind for kind in taken if _is_ours(kind))
        waiting = returned | {kind for kind in taken if is_typeddict(kind)}
        while waiting:
            kind = waiting.pop()
            found.add(kind)
            waiting.update(part for part in _fields(kind) if _is_ours(part) and part not in found)
    return found


@pytest.mark.parametrize("client", [broker_queue.JobQueue, sync.JobQueue])
def test_every_type_of_the_client_can_be_imported_from_the_package(client: type) -> None:
    used = _used_by(client)
    assert {broker_queue.JobStatus, broker_queue.Error, broker_queue.JobOptions} < used
    public = [getattr(broker_queue, name) for name in broker_queue.__all__]
    assert [kind for kind in used if kind not in public and not isinstance(kind, TypeVar)] == []


def test_using_the_package_imports_only_what_is_used() -> None:
    code = "import broker_queue, sys; broker_queue.State; print('pydantic' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
