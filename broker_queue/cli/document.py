"""A YAML or JSON text as plain JSON values, with the line on which each part begins. Pure.

YAML is read as JSON with comments: only ``true``/``false``, ``null`` and decimal numbers have a
meaning of their own (the core schema of YAML 1.2), so ``on``, ``12:30`` and ``2026-01-01`` stay the
text that they are. Keys must be text and may not be given twice. Anchors and ``<<`` work.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]

MAX_DEPTH = 200
"""Levels of nesting; also what ends a YAML anchor that contains itself."""

LIBYAML_TOO_DEEP = "maximum nesting depth"
"""How newer ones refuse what looks thousands of levels deep, before the first event comes."""

TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"

NO_YAML = "no YAML"

_TAG = "tag:yaml.org,2002:"


class DocumentError(ValueError):
    """The text is no YAML or JSON, or more than JSON can say."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


@dataclass(slots=True)
class Document:
    """The value, and the line (from 1) on which each part of it begins; JSON has no lines."""

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int | None:
        """Return the line of the part at `path`, or of the nearest part around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def read_document(text: str) -> Document:
    """Return the value of a text: JSON when it begins like an object, else YAML.

    Raises:
        DocumentError: with the line where that is known.
    """
    if text.lstrip().startswith("{"):
        try:
            return Document(json.loads(text, object_pairs_hook=_object, parse_constant=_constant))
        except RecursionError:
            raise DocumentError(TOO_DEEP) from None
        except json.JSONDecodeError as error:
            json_error = DocumentError(f"no JSON: {error.msg}", error.lineno)
        try:  # a YAML flow mapping begins like this as well
            return _read_yaml(text)
        except DocumentError as yaml_error:
            is_no_yaml = yaml_error.problem.startswith(NO_YAML)
            raise (json_error if is_no_yaml else yaml_error) from None
    return _read_yaml(text)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml if built
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own protocol


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})\\Z"), _first)


def _read_yaml(text: str) -> Document:
    try:
        _refuse_depth(text)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        is_too_deep = LIBYAML_TOO_DEEP in (error.problem or "")
        problem = TOO_DEEP if is_too_deep else f"{NO_YAML}: {error.problem}"
        raise DocumentError(problem, mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise DocumentError(f"{NO_YAML}: {str(error).splitlines()[0]}") from None
    document = Document(None)
    if root is not None:
        document.value = _Reader(document.lines).read(root, ())
    return document


def _refuse_depth(text: str) -> None:
    """Refuse what is nested deeper than libyaml can compose: it would end the whole process.

    Raises:
        DocumentError: it is.
        yaml.YAMLError: it is no YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            mark = event.start_mark
            raise DocumentError(TOO_DEEP, mark.line + 1 if mark else None)


class _Reader:
    """Turns YAML nodes into values and notes where they begin."""

    def __init__(self, lines: dict[Path, int]) -> None:
        self._lines = lines

    def read(self, node: yaml.Node, path: Path) -> Any:
        if len(path) > MAX_DEPTH:
            raise _at(node, f"{TOO_DEEP} (an anchor inside itself?)")
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)  # noqa: S101  # the third and last kind of node
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                merged = self._merge(value, path) | merged
                continue
            name = _key(key)
            if name in own:
                raise _at(key, f"{name!r} is given twice")
            self._lines[(*path, name)] = key.start_mark.line + 1
            own[name] = self.read(value, (*path, name))
        return merged | own

    def _merge(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        values = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, Any] = {}
        for value in values:
            if not isinstance(value, yaml.MappingNode):
                raise _at(value, '"<<" takes a mapping, or a list of mappings')
            found = self.read(value, (*path, "<<")) | found
        return found


def _key(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}str":
        return str(node.value)
    shown = node.value if isinstance(node, yaml.ScalarNode) else "this key"
    raise _at(node, f'a key must be text; put {shown} in quotes: "{shown}"')


def _scalar(node: yaml.ScalarNode) -> Any:
    text, kind = node.value, node.tag.removeprefix(_TAG)
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return _finite(text)
    except ValueError as error:
        raise _at(node, str(error)) from None
    raise _at(node, f"the tag {node.tag} has no meaning here; write plain values")


def _finite(text: str) -> float:
    if text.lstrip("-+")[1:].isalpha():
        raise ValueError(f"{text} is no JSON number; text goes in quotes")
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large for a number")
    return number


def _at(node: yaml.Node, problem: str) -> DocumentError:
    return DocumentError(problem, node.start_mark.line + 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DocumentError(f"{twice!r} is given twice")
    return found


def _constant(text: str) -> Any:
    raise DocumentError(f"{text} is no JSON number")
