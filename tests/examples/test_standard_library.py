"""The pure parts of the example: measuring source, ranking packages, drawing the report."""

from __future__ import annotations

import re
from itertools import combinations, product
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.standard_library import analysis, charts, report
from examples.standard_library.analysis import Measurement, measure_package, measure_source
from examples.standard_library.charts import Point, Rectangle, Row, Tile
from examples.standard_library.ranking import Ranking, knots, rank

SOURCE = dedent(
    '''\
    """What this
    is for.
    """

    import os.path
    from json import dumps
    from . import neighbour
    # a comment

    TEXT = """not a docstring

    # nor a comment
    """


    class Shop:
        """Sells."""

        async def sell(self):
            import random

            def wrap():
                pass

            return random.choice(TEXT)


    if __name__ == "__main__":
        import doctest
    '''
)


def measured(
    name: str, code: int, functions: int = 1, imports: str = "", late: str = ""
) -> Measurement:
    return Measurement(
        package=name,
        files=1,
        lines=code + 10,
        code=code,
        comments=4,
        docstrings=3,
        blank=3,
        functions=functions,
        longest=[analysis.Function(name="work", file=f"{name}.py", line=1, lines=code // 2)],
        imports=imports.split(),
        deferred=late.split(),
    )


@pytest.fixture
def ranking() -> Ranking:
    return rank(
        [
            measured("json", 400, 20, imports="re sys"),
            measured("re", 900, 40, imports="sys", late="json"),
            measured("this", 20, 0),
        ]
    )


@pytest.fixture
def library(tmp_path: Path) -> Path:
    texts = {
        "json/__init__.py": SOURCE,
        "json/tool.py": "def main(): pass\n",
        "json/tests/test_all.py": "def test(): pass\n" * 100,
        "re.py": "import json\n",
        "notes.py": "not of the library\n" * 50,
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_each_line_is_code_or_comment_or_docstring_or_blank() -> None:
    found = measure_source(SOURCE, "shop.py")
    kinds = (found.code, found.comments, found.docstrings, found.blank)
    assert kinds == (15, 1, 4, 9)
    assert sum(kinds) == found.lines == len(SOURCE.splitlines())


def test_what_stands_inside_a_string_is_no_comment() -> None:
    assert measure_source('x = f"""\n# {1}\n\n"""\n', "x.py").code == 4


def test_functions_have_their_classes_in_their_names_and_are_listed_longest_first() -> None:
    found = measure_source(SOURCE, "shop.py")
    assert (found.functions, found.classes) == (2, 1)
    listed = [(each.name, each.line, each.lines) for each in found.longest]
    assert listed == [("Shop.sell", 19, 7), ("Shop.sell.wrap", 22, 2)]


def test_imports_are_told_apart_by_when_they_happen() -> None:
    found = measure_source(SOURCE, "shop.py")
    assert found.imports == ["json", "os"]
    assert found.deferred == ["doctest", "random"]


def test_a_package_does_not_import_itself_nor_what_is_not_in_the_library() -> None:
    found = measure_source(
        "import json.tool, yaml\nfrom __future__ import annotations\n", "json/x.py"
    )
    assert found.imports == []


def test_packages_are_found_largest_first_without_tests_and_strangers(library: Path) -> None:
    assert analysis.find_packages(library) == ["json", "re"]


def test_a_package_is_the_sum_of_its_files(library: Path) -> None:
    told: list[tuple[int, int, str]] = []
    found = measure_package(library, "json", lambda *facts: told.append(facts))
    assert (found.files, found.functions, found.classes) == (2, 3, 1)
    assert found.lines == len(SOURCE.splitlines()) + 1
    assert told == [(0, 2, "json/__init__.py"), (1, 2, "json/tool.py")]


def test_a_file_that_is_no_python_is_named_and_the_others_count(library: Path) -> None:
    (library / "json" / "broken.py").write_text("def :\n")
    (library / "json" / "binary.py").write_bytes(b"\xff\xfe\x00")
    found = measure_package(library, "json")
    assert found.files == 2
    assert found.unreadable == ["json/binary.py", "json/broken.py"]


def test_an_import_at_once_in_one_file_outweighs_a_later_one_in_another() -> None:
    parts = [measured("a", 1, late="re os"), measured("a", 1, imports="re")]
    whole = analysis.add_up("a", parts)
    assert (whole.imports, whole.deferred) == (["re"], ["os"])


def test_the_library_of_this_python_is_found_and_measured() -> None:
    folder = analysis.library_folder()
    assert {"json", "asyncio", "typing"} <= set(analysis.find_packages(folder))
    found = measure_package(folder, "json")
    assert found.functions > 20
    assert "re" in found.imports


def test_packages_are_ranked_by_code_with_their_importers_counted(ranking: Ranking) -> None:
    assert [each.name for each in ranking.packages] == ["re", "json", "this"]
    assert [each.imported_by for each in ranking.packages] == [1, 1, 0]
    first = ranking.most_imported[0]
    assert (first.name, first.at_once, first.when_needed) == ("sys", 2, 0)
    assert ranking.longest[0].lines == 450


def test_the_findings_are_true_of_what_was_measured(ranking: Ranking) -> None:
    found = {finding.number: finding.text for finding in ranking.findings}
    assert found["1 of 3"].startswith(
        "packages hold half of all code. The largest is re: 900 lines"
    )
    assert "this" in found["0 functions"]
    assert found["450 lines"] == "is the longest function: work() in re.py, line 1."
    assert found["2 of 3"].startswith("packages import sys.")
    assert "ties only 0 together" in found["2 packages"]


def test_a_knot_holds_those_that_reach_each_other() -> None:
    imports = {"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": ["e"], "e": ["d"], "f": ["a", "sys"]}
    assert knots(imports) == [{"a", "b", "c"}, {"d", "e"}]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=30))
def test_knots_are_what_reachability_says(edges: list[tuple[int, int]]) -> None:
    names = [str(number) for number in range(8)]
    imports = {name: [str(b) for a, b in edges if str(a) == name] for name in names}
    reached = {(str(a), str(b)) for a, b in edges}
    for middle, left, right in product(names, repeat=3):
        if (left, middle) in reached and (middle, right) in reached:
            reached.add((left, right))
    together = {frozenset((a, b)) for a, b in combinations(names, 2) if {(a, b), (b, a)} <= reached}
    found = knots(imports)
    assert {frozenset(pair) for knot in found for pair in combinations(knot, 2)} == together
    assert [len(knot) for knot in found] == sorted(map(len, found), reverse=True)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=60))
def test_the_tiles_of_a_treemap_fill_their_space_and_do_not_overlap(sizes: list[int]) -> None:
    sizes.sort(reverse=True)
    places = charts.squarify(sizes, Rectangle(0, 0, 400, 300))
    for size, place in zip(sizes, places, strict=True):
        assert place.width * place.height == pytest.approx(120_000 * size / sum(sizes), rel=1e-3)
        assert -1e-6 <= place.x <= place.x + place.width <= 400 + 1e-3
        assert -1e-6 <= place.y <= place.y + place.height <= 300 + 1e-3
    for one, other in combinations(places, 2):
        across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert min(across, down) < 1e-3


@pytest.mark.parametrize(
    "chart",
    [
        charts.treemap([Tile("<a> & b", 3, 0.5, 'say "hi"'), Tile("c", 1, 1, "")], "tiles"),
        charts.bars([Row("<a>", "1 & 2", [("code", 1.0), ("blank", 2.0)])], "bars"),
        charts.wheel(["<a>", "b"], [3, 0], [(0, 1, "now")], "wheel"),
        charts.scatter([Point("<a>", 10, 5, "&"), Point("b", 900, 70, "")], "x", "y", "points"),
        charts.treemap([], "nothing"),
        charts.bars([], "nothing"),
        charts.wheel([], [], [], "nothing"),
    ],
)
def test_charts_are_well_formed_whatever_the_names(chart: str) -> None:
    assert ElementTree.fromstring(chart).tag == "svg"


def test_the_page_is_complete_and_loads_nothing_from_elsewhere(ranking: Ranking) -> None:
    page = report.html(ranking, "3.99.1")
    assert page.startswith("<!doctype html>")
    assert "Python 3.99.1" in page
    assert not re.search(r"https?:|src=|@import|url\(|<link|<script", page)
    for drawing in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(drawing)
    for finding in ranking.findings:
        assert finding.number in page


def test_the_page_of_an_empty_library_is_a_page_too() -> None:
    page = report.html(rank([]), "3.99.1")
    assert page.rstrip().endswith("</html>")


def test_names_cannot_break_the_page() -> None:
    page = report.html(rank([measured("<script>", 500)]), "3.99.1")
    assert "<script" not in page


def test_the_summary_is_a_table_in_markdown(ranking: Ranking) -> None:
    lines = report.markdown(ranking, "3.99.1").splitlines()
    assert lines[0] == "# The standard library of Python 3.99.1"
    assert "| re | 1 | 910 | 900 | 40 | 1 |" in lines
    assert "| work | 450 | re.py:1 |" in lines
