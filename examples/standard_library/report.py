"""The report: one HTML page that needs nothing else, and the same in brief as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest
from html import escape
from math import log1p
from pathlib import Path

from examples.standard_library import charts
from examples.standard_library.charts import Point, Row, Tile, element, text
from examples.standard_library.ranking import ENOUGH_LINES, KINDS, LONGEST, Package, Ranking

LARGEST = 20
ON_WHEEL = 64

STYLE = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


def html(ranking: Ranking, python: str) -> str:
    """Return the whole page.

    Args:
        ranking: what it shows.
        python: version of the Python whose library was measured.
    """
    title = f"The standard library of Python {python}"
    parts = [_head(ranking, python), _findings(ranking), *_sections(ranking), _table(ranking)]
    body = "".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def markdown(ranking: Ranking, python: str) -> str:
    """Return what matters most, for a terminal or a pull request."""
    lines = [f"# The standard library of Python {python}", ""]
    lines += [f"- **{found.number}** {found.text}" for found in ranking.findings]
    lines += ["", "| package | files | lines | code | functions | imported by |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {each.name} | {each.files:,} | {each.lines:,} | {each.code:,} | {each.functions:,} "
        f"| {each.imported_by:,} |"
        for each in ranking.packages[:LARGEST]
    ]
    lines += ["", "| longest functions | lines | where |", "| --- | ---: | --- |"]
    lines += [
        f"| {each.name} | {each.lines} | {each.file}:{each.line} |" for each in ranking.longest
    ]
    return "\n".join(lines) + "\n"


def _sections(ranking: Ranking) -> Iterable[str]:
    yield _section(
        "Where the code is",
        "Each tile is a package or module, as large as its code. "
        "The stronger its colour, the more functions its lines are cut into.",
        charts.treemap([_tile(each) for each in ranking.packages if each.code], "lines of code"),
    )
    yield _section("The largest", "Lines by what they hold. " + _legend(), _largest(ranking))
    yield _section("The longest functions", "From def to the last line.", _longest(ranking))
    yield _pair(
        _section("The most imported", "By how many. " + _import_legend(), _most_imported(ranking)),
        _section(
            "The neediest", "How many others each imports. " + _import_legend(), _neediest(ranking)
        ),
    )
    yield _section(
        "Who imports whom",
        f"The {min(ON_WHEEL, len(ranking.packages))} best connected, clockwise from the foundations "
        "to what is built on them; a dot grows with the number of its importers. "
        + _import_legend(),
        element("div", _wheel(ranking), class_="middle"),
    )
    yield _section(
        "Few long functions, or many short ones",
        f"Functions per 1,000 lines of code, for packages of {ENOUGH_LINES} lines and more.",
        _scatter(ranking),
    )
    yield _section("How this page was made", _how(ranking), _jobs(len(ranking.packages)))


def _head(ranking: Ranking, python: str) -> str:
    facts = [
        (len(ranking.packages), "packages and modules"),
        *(
            (ranking.total(field), label)
            for field, label in (
                ("files", "files"),
                ("lines", "lines"),
                ("code", "lines of code"),
                ("functions", "functions"),
                ("classes", "classes"),
            )
        ),
    ]
    tiles = "".join(
        element("div", element("b", f"{number:,}") + element("span", label))
        for number, label in facts
    )
    return element(
        "header",
        element("p", f"Python {escape(python)}", class_="over")
        + element("h1", "The standard library, measured")
        + element("div", tiles, class_="facts"),
    )


def _findings(ranking: Ranking) -> str:
    cards = "".join(
        element("li", element("b", escape(found.number)) + " " + escape(found.text))
        for found in ranking.findings
    )
    return element("ul", cards, class_="findings") if cards else ""


def _section(title: str, introduction: str, content: str) -> str:
    return element("section", element("h2", escape(title)) + element("p", introduction) + content)


def _pair(*sections: str) -> str:
    return element("div", "".join(sections), class_="pair")


def _key(kind: str, label: str) -> str:
    return element("span", element("i", " ", class_=kind) + escape(label), class_="key")


def _legend() -> str:
    return "".join(_key(kind, kind) for kind in KINDS)


def _import_legend() -> str:
    return _key("now", "at once") + _key("late", "when needed")


def _tile(package: Package) -> Tile:
    shade = min(1.0, package.density / 150)
    tip = (
        f"{package.name}: {package.code:,} lines of code, {package.functions:,} functions, "
        f"{package.density:.0f} per 1,000 lines"
    )
    return Tile(package.name, package.code, shade, tip)


def _bar(package: Package) -> Row:
    parts = [(kind, float(getattr(package, kind))) for kind in KINDS]
    return Row(package.name, f"{package.lines:,}", parts)


def _largest(ranking: Ranking) -> str:
    largest = nlargest(LARGEST, ranking.packages, key=lambda each: each.lines)
    return charts.bars([_bar(package) for package in largest], "largest packages")


def _longest(ranking: Ranking) -> str:
    rows = [
        Row(
            f"{each.name}()",
            f"{each.lines} lines, {each.file}:{each.line}",
            [("code", float(each.lines))],
        )
        for each in ranking.longest
    ]
    return charts.bars(rows, "longest functions", label_width=280, note_width=290)


def _most_imported(ranking: Ranking) -> str:
    rows = [
        _import_bar(each.name, each.at_once, each.when_needed) for each in ranking.most_imported
    ]
    return charts.bars(rows, "most imported", width=500, label_width=100)


def _neediest(ranking: Ranking) -> str:
    neediest = nlargest(LONGEST, ranking.packages, key=lambda each: len(each.reaches_for))
    rows = [_import_bar(each.name, len(each.imports), len(each.deferred)) for each in neediest]
    return charts.bars(rows, "packages that import most", width=500, label_width=130)


def _import_bar(name: str, at_once: int, when_needed: int) -> Row:
    parts = [("now", float(at_once)), ("late", float(when_needed))]
    return Row(name, f"{at_once + when_needed}", parts)


def _wheel(ranking: Ranking) -> str:
    """The foundations come first: what many import and what imports little."""
    best = sorted(ranking.packages, key=lambda each: -each.imported_by - len(each.reaches_for))
    shown = sorted(best[:ON_WHEEL], key=_height)
    places = {package.name: number for number, package in enumerate(shown)}
    edges = [
        (places[package.name], places[target], kind)
        for kind, field in (("now", "imports"), ("late", "deferred"))
        for package in shown
        for target in getattr(package, field)
        if target in places
    ]
    names = [package.name for package in shown]
    return charts.wheel(names, [package.imported_by for package in shown], edges, "imports")


def _height(package: Package) -> float:
    return log1p(len(package.reaches_for)) - log1p(package.imported_by)


def _scatter(ranking: Ranking) -> str:
    points = [
        Point(each.name, float(each.code), each.density, _tile(each).tip)
        for each in ranking.packages
        if each.code >= ENOUGH_LINES
    ]
    if not points:
        return ""
    return charts.scatter(points, "lines of code", "functions per 1,000 lines", "density")


def _how(ranking: Ranking) -> str:
    return (
        "As a graph of jobs. <code>find-packages</code> looked into the library and, with its result, "
        f"added {len(ranking.packages)} jobs <code>measure</code>, and let the waiting "
        "<code>rank</code> wait for them all. Their results came to it as plain arguments. "
        "<code>notify-failure</code> would have run if <code>report</code> had failed; so it was "
        "skipped."
    )


def _jobs(measures: int) -> str:
    """Draw the graph of jobs that made the report."""
    boxes = [
        (0, 70, "find-packages", "job"),
        (430, 70, "rank", "job"),
        (620, 70, "report", "job"),
        (850, 70, "notify-failure", "job skipped"),
    ]
    drawn = []
    for number, y in enumerate((0, 47, 94, 141)):
        label = f"… {measures - 3} more" if number == 2 else "measure"
        boxes.append((230, y, label, "job"))
        drawn.append(_arrow(150, 87, 230, y + 17))
        drawn.append(_arrow(360, y + 17, 430, 87))
    drawn += [_arrow(550, 87, 620, 87), _arrow(740, 87, 850, 87, "dashed")]
    drawn.append(text("if it failed", 795, 78, text_anchor="middle", class_="note"))
    for x, y, label, kind in boxes:
        width = 150 if x in (0, 850) else 130 if x == 230 else 120
        drawn.append(
            element("rect", x=x + 1, y=y + 1, width=width - 2, height=33, rx=6, class_=kind)
        )
        drawn.append(text(label, x + width / 2, y + 22, text_anchor="middle", class_="name"))
    return charts.svg(drawn, 178, "the graph of jobs")


def _arrow(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    middle = (x1 + x2) / 2
    path = f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"
    return element("path", d=path, class_=f"arrow {kind}".strip())


def _table(ranking: Ranking) -> str:
    names = ("files", "lines", "code", "functions", "classes", "imported by")
    head = "".join(element("th", name) for name in ("package", *names))
    rows = "".join(_table_row(package) for package in ranking.packages)
    table = element("table", element("thead", element("tr", head)) + element("tbody", rows))
    return element("details", element("summary", "All packages as a table") + table)


def _table_row(package: Package) -> str:
    numbers: Iterable[int] = (
        package.files,
        package.lines,
        package.code,
        package.functions,
        package.classes,
        package.imported_by,
    )
    cells = "".join(element("td", f"{number:,}") for number in numbers)
    return element("tr", element("td", escape(package.name)) + cells)
