"""Measuring packages of the standard library from their syntax trees. Knows nothing of jobs."""

from __future__ import annotations

import ast
import sys
import sysconfig
import tokenize
from collections.abc import Callable, Iterable, Iterator
from heapq import nlargest
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pydantic import BaseModel

LONGEST = 5
"""Functions that each package names; more of the longest dozen never come from one package."""

NOT_LIBRARY = {"__pycache__", "idle_test", "test", "tests"}
"""Folders inside packages that hold their tests."""

PLAIN = (ast.expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return, ast.Raise)
"""Nodes that hold neither functions nor imports; only strings of several lines are of interest."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


class Function(BaseModel):
    """A function or method, from its ``def`` to its last line."""

    name: str
    file: str
    line: int
    lines: int


class Measurement(BaseModel):
    """What one package (or single module) of the library consists of.

    Each line is exactly one of code, comment, docstring and blank. `imports` are the other parts of
    the standard library that importing its files imports; `deferred` those that are only imported
    when a function is called or a file is run as a program.
    """

    package: str
    files: int = 0
    lines: int = 0
    code: int = 0
    comments: int = 0
    docstrings: int = 0
    blank: int = 0
    functions: int = 0
    classes: int = 0
    longest: list[Function] = []
    imports: list[str] = []
    deferred: list[str] = []
    unreadable: list[str] = []


def library_folder() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def find_packages(folder: Path) -> list[str]:
    """Return the names of all packages and modules of a library's folder, largest first."""
    sizes = {}
    for path in folder.iterdir():
        if path.stem in sys.stdlib_module_names and (path.suffix == ".py" or path.is_dir()):
            size = sum(source.stat().st_size for source in sources(folder, path.stem))
            if size:
                sizes[path.stem] = size
    return sorted(sizes, key=lambda name: (-sizes[name], name))


def sources(folder: Path, package: str) -> list[Path]:
    """Return the files of a package without its tests, or the one file of a module."""
    module = folder / f"{package}.py"
    if module.is_file():
        return [module]
    return [
        path
        for path in sorted((folder / package).rglob("*.py"))
        if NOT_LIBRARY.isdisjoint(path.relative_to(folder).parts)
    ]


def measure_package(
    folder: Path, package: str, tell: Callable[[int, int, str], None] = lambda *_: None
) -> Measurement:
    """Measure every file of a package.

    Args:
        folder: of the library.
        package: its name.
        tell: is told of each file: how many were measured, how many there are, its name.
    """
    paths = sources(folder, package)
    found = []
    for number, path in enumerate(paths):
        file = path.relative_to(folder).as_posix()
        tell(number, len(paths), file)
        try:
            with tokenize.open(path) as opened:
                found.append(measure_source(opened.read(), file))
        except (SyntaxError, ValueError):  # a template, or bytes that are no text
            found.append(Measurement(package=package, unreadable=[file]))
    return add_up(package, found)


def measure_source(text: str, file: str) -> Measurement:
    """Measure the text of one file.

    Raises:
        SyntaxError: it is no Python.
    """
    walk = _Walk(file)
    walk.visit(ast.parse(text))
    lines = text.removesuffix("\n").split("\n") if text else []
    kinds = [walk.kind_of(number, line) for number, line in enumerate(lines, start=1)]
    return Measurement(
        package=_package_of(file),
        files=1,
        lines=len(lines),
        code=kinds.count("code"),
        comments=kinds.count("comment"),
        docstrings=kinds.count("docstring"),
        blank=kinds.count("blank"),
        functions=len(walk.functions),
        classes=walk.classes,
        longest=nlargest(LONGEST, walk.functions, key=lambda function: function.lines),
        imports=sorted(walk.imports),
        deferred=sorted(walk.deferred),
    )


def add_up(package: str, parts: Iterable[Measurement]) -> Measurement:
    """Return the measurement of a package from those of its files."""
    whole = Measurement(package=package)
    imports: set[str] = set()
    deferred: set[str] = set()
    functions: list[Function] = []
    for part in parts:
        for name in ("files", "lines", "code", "comments", "docstrings", "blank"):
            setattr(whole, name, getattr(whole, name) + getattr(part, name))
        whole.functions += part.functions
        whole.classes += part.classes
        whole.unreadable += part.unreadable
        functions += part.longest
        imports.update(part.imports)
        deferred.update(part.deferred)
    whole.longest = nlargest(LONGEST, functions, key=lambda function: function.lines)
    whole.imports = sorted(imports)
    whole.deferred = sorted(deferred - imports)
    return whole


class _Scope(NamedTuple):
    """Where in a file a node stands; what is deferred does not run when the file is imported."""

    name: str = ""
    is_deferred: bool = False


class _Walk:
    """One walk over a syntax tree; collects all that is measured."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._own = _package_of(file)
        self._docstring_lines: set[int] = set()
        self._string_lines: set[int] = set()
        self.functions: list[Function] = []
        self.classes = 0
        self.imports: set[str] = set()
        self.deferred: set[str] = set()

    def visit(self, tree: ast.Module) -> None:
        self._note_docstring(tree)
        stack: list[tuple[ast.AST, _Scope]] = [(tree, _Scope())]
        while stack:
            node, scope = stack.pop()
            inner = self._enter(node, scope)
            stack += [(child, inner) for child in ast.iter_child_nodes(node) if _matters(child)]

    def kind_of(self, number: int, line: str) -> str:
        """Return what a line is; what stands inside a string is neither comment nor blank."""
        if number in self._docstring_lines:
            return "docstring"
        if number in self._string_lines:
            return "code"
        stripped = line.strip()
        if not stripped:
            return "blank"
        return "comment" if stripped.startswith("#") else "code"

    def _enter(self, node: ast.AST, scope: _Scope) -> _Scope:
        """Take note of a node and return the scope of its children."""
        if isinstance(node, FunctionNode):
            return self._enter_function(node, scope)
        if isinstance(node, ast.ClassDef):
            self.classes += 1
            self._note_docstring(node)
            return scope._replace(name=f"{scope.name}{node.name}.")
        if isinstance(node, ast.If) and _is_about_programs(node.test):
            return scope._replace(is_deferred=True)
        if isinstance(node, ast.Import | ast.ImportFrom):
            target = self.deferred if scope.is_deferred else self.imports
            target.update(self._library_parts(node))
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            self._string_lines.update(_lines_of(node))
        return scope

    def _enter_function(self, node: FunctionNode, scope: _Scope) -> _Scope:
        self._note_docstring(node)
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        name = f"{scope.name}{node.name}"
        self.functions.append(Function(name=name, file=self._file, line=node.lineno, lines=lines))
        return _Scope(f"{name}.", is_deferred=True)

    def _note_docstring(self, node: ast.Module | ast.ClassDef | FunctionNode) -> None:
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            self._docstring_lines.update(_lines_of(first))

    def _library_parts(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        """Yield the other parts of the standard library that a statement imports."""
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = [] if node.level else [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names and top not in {self._own, "__future__"}:
                yield top


def _is_about_programs(test: ast.expr) -> bool:
    """Whether this is the condition of ``if __name__ == "__main__":``."""
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
    )


def _matters(node: ast.AST) -> bool:
    """Whether a node can hold what is looked for: most of a tree are plain things on one line."""
    return not isinstance(node, PLAIN) or node.lineno != node.end_lineno


def _lines_of(node: ast.stmt | ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _package_of(file: str) -> str:
    return PurePosixPath(file).parts[0].removesuffix(".py")
