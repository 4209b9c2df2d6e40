"""What the measurements say together: who is largest, longest, most imported, most entangled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from heapq import nlargest
from itertools import accumulate

from pydantic import BaseModel

from examples.standard_library.analysis import Function, Measurement

LONGEST = 12
ENOUGH_LINES = 300
"""Lines of code from which on a share says something about a package."""

KINDS = ("code", "docstrings", "comments", "blank")
"""What a line can be."""

Imports = Mapping[str, Iterable[str]]


class Package(BaseModel):
    """A package with its place among the others."""

    name: str
    files: int
    lines: int
    code: int
    comments: int
    docstrings: int
    blank: int
    functions: int
    classes: int
    imports: list[str]
    deferred: list[str]
    imported_by: int

    @property
    def reaches_for(self) -> list[str]:
        """All that it imports, sooner or later."""
        return [*self.imports, *self.deferred]

    @property
    def density(self) -> float:
        """Functions per 1,000 lines of code."""
        return 1000 * self.functions / self.code if self.code else 0.0

    @property
    def explained(self) -> float:
        """Share of its text that is written for people: docstrings and comments."""
        text = self.code + self.comments + self.docstrings
        return (self.comments + self.docstrings) / text if text else 0.0


class Imported(BaseModel):
    """How many packages import a part of the library; it may be written in C."""

    name: str
    at_once: int
    when_needed: int


class Finding(BaseModel):
    """A number worth a large font, and the sentence that it belongs to."""

    number: str
    text: str


class Ranking(BaseModel):
    """Everything that the report shows. Packages by lines of code, largest first."""

    packages: list[Package]
    longest: list[Function]
    most_imported: list[Imported]
    findings: list[Finding]
    unreadable: list[str]

    def total(self, field: str) -> int:
        return sum(getattr(package, field) for package in self.packages)


def rank(measurements: Iterable[Measurement]) -> Ranking:
    """Rank packages from their measurements, in whatever order these come."""
    measured = sorted(measurements, key=lambda item: (-item.code, item.package))
    at_once = Counter(name for item in measured for name in item.imports)
    when_needed = Counter(name for item in measured for name in item.deferred)
    importers = at_once + when_needed
    packages = [
        Package(
            **item.model_dump(include=set(Package.model_fields)),
            name=item.package,
            imported_by=importers[item.package],
        )
        for item in measured
    ]
    longest = nlargest(
        LONGEST, (each for item in measured for each in item.longest), key=lambda each: each.lines
    )
    return Ranking(
        packages=packages,
        longest=longest,
        most_imported=[
            Imported(name=name, at_once=at_once[name], when_needed=when_needed[name])
            for name, _ in importers.most_common(LONGEST)
        ],
        findings=list(_findings(packages, longest, importers)),
        unreadable=[file for item in measured for file in item.unreadable],
    )


def knots(imports: Imports) -> list[set[str]]:
    """Return the groups of packages that import each other in circles, largest first.

    Tarjan's strongly connected components, without recursion; a package alone is no knot.
    """
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    found: list[set[str]] = []

    def enter(name: str) -> tuple[str, list[str]]:
        order[name] = low[name] = len(order)
        path.append(name)
        on_path.add(name)
        return name, [target for target in imports[name] if target in imports]

    def leave(name: str) -> None:
        if low[name] == order[name]:
            place = path.index(name)
            found.append(set(path[place:]))
            on_path.difference_update(path[place:])
            del path[place:]

    for root in imports:
        stack = [] if root in order else [enter(root)]
        while stack:
            name, targets = stack[-1]
            if not targets:
                leave(name)
                stack.pop()
                if stack:
                    low[stack[-1][0]] = min(low[stack[-1][0]], low[name])
                continue
            target = targets.pop()
            if target not in order:
                stack.append(enter(target))
            elif target in on_path:
                low[name] = min(low[name], order[target])
    return sorted((knot for knot in found if len(knot) > 1), key=len, reverse=True)


def _findings(
    packages: list[Package],
    longest: list[Function],
    importers: Counter[str],
) -> Iterable[Finding]:
    if not packages:
        return
    yield from _about_sizes(packages)
    if longest:
        first = longest[0]
        yield Finding(
            number=f"{first.lines:,} lines",
            text=f"is the longest function: {first.name}() in {first.file}, line {first.line}.",
        )
    if importers:
        (name, count), *_ = importers.most_common(1)
        busiest = max(packages, key=lambda package: len(package.reaches_for))
        yield Finding(
            number=f"{count} of {len(packages)}",
            text=f"packages import {name}. {busiest.name} imports the most others: "
            f"{len(busiest.reaches_for)}.",
        )
    yield from _about_knots(packages)
    telling = [each for each in packages if each.code >= ENOUGH_LINES and each.functions]
    yield from _about_style(telling)


def _about_sizes(packages: list[Package]) -> Iterable[Finding]:
    code = sum(package.code for package in packages)
    running = accumulate(package.code for package in packages)
    half = 1 + sum(1 for lines in running if lines < code / 2)
    largest = packages[0]
    shares = [sum(getattr(each, kind) for each in packages) for kind in KINDS]
    yield Finding(
        number=f"{shares[0] / sum(shares):.0%} code",
        text=f"in all {sum(shares):,} lines; {shares[1] / sum(shares):.0%} are docstrings, "
        f"{shares[2] / sum(shares):.0%} comments, and the rest is empty.",
    )
    yield Finding(
        number=f"{half} of {len(packages)}",
        text=f"packages hold half of all code. The largest is {largest.name}: {largest.code:,} "
        f"lines in {largest.files:,} {'files' if largest.files > 1 else 'file'}.",
    )
    without = [package for package in packages if not package.functions]
    if without:
        most = max(without, key=lambda package: package.lines)
        yield Finding(
            number="0 functions",
            text=f"are in the {most.lines:,} lines of {most.name}, and none in "
            f"{len(without) - 1} other packages.",
        )


def _about_knots(packages: list[Package]) -> Iterable[Finding]:
    at_import = knots({package.name: package.imports for package in packages})
    in_all = knots({package.name: package.reaches_for for package in packages})
    if in_all:
        size = len(at_import[0]) if at_import else 0
        yield Finding(
            number=f"{len(in_all[0])} packages",
            text="form one knot: each reaches every other through imports. What is imported at once "
            f"ties only {size} together.",
        )


def _about_style(packages: list[Package]) -> Iterable[Finding]:
    if not packages:
        return
    dense = _most(packages, lambda package: package.density)
    sparse = _most(packages, lambda package: -package.density)
    yield Finding(
        number=f"{dense.density:.0f} per 1,000",
        text=f"lines of code are functions in {dense.name}; in {sparse.name} it is "
        f"{sparse.density:.0f}. (Packages of {ENOUGH_LINES} lines and more.)",
    )
    explained = _most(packages, lambda package: package.explained)
    terse = _most(packages, lambda package: -package.explained)
    yield Finding(
        number=f"{explained.explained:.0%}",
        text=f"of {explained.name} is docstrings and comments: written for people. "
        f"In {terse.name} it is {terse.explained:.0%}.",
    )


def _most(packages: Iterable[Package], key: Callable[[Package], float]) -> Package:
    return max(packages, key=key)
