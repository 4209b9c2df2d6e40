"""Graphs as trees, DOT and Mermaid."""

from __future__ import annotations

from broker_queue.cli.drawing import MAX_INDENT, Node, Parent, dot, mermaid, tree
from broker_queue.job import Condition, State


def node(
    name: str, *parents: str | Parent, kind: str | None = "t", state: State | None = None
) -> Node:
    edges = tuple(item if isinstance(item, Parent) else Parent(item) for item in parents)
    return Node(id=name, label=name, type=kind, state=state, parents=edges)


def drawn(*nodes: Node, fold: bool = True) -> str:
    rows = tree(nodes, fold=fold)
    parts = ((row.prefix + (row.node.label if row.node else ""), row.note) for row in rows)
    lines = ["".join(part) if part[0].endswith("─ ") else "  ".join(part) for part in parts]
    return "\n".join(line.rstrip() for line in lines)


def test_a_job_stands_under_the_deepest_of_its_dependencies() -> None:
    assert drawn(
        node("fetch"), node("lint", "fetch"), node("build", "fetch"), node("test", "build"),
        node("all", "lint", "test", kind=None),
    ) == (
        "fetch\n"
        "├─ lint\n"
        "└─ build\n"
        "   └─ test\n"
        "      └─ all  also after lint"
    )  # fmt: skip


def test_conditions_are_told() -> None:
    assert drawn(
        node("build"),
        node("notify", Parent("build", Condition.FAILURE)),
        node("clean", Parent("build", Condition.ANY)),
        node(
            "report", "clean", Parent("notify", Condition.FAILURE), Parent("build", Condition.ANY)
        ),
    ) == (
        "build\n"
        "├─ notify  if it failed\n"
        "│  └─ report  if it failed; after build ended; also after clean\n"
        "└─ clean  in any case"
    )


def test_jobs_outside_the_graph_are_named() -> None:
    assert drawn(node("build", "01990000")) == "build  after 01990000"


def test_many_leaves_that_look_alike_are_one_line() -> None:
    pages = [node(f"page{i}", "list", kind="page", state=State.FINISHED) for i in range(1000)]
    assert drawn(node("list"), *pages) == ("list\n├─ page0\n├─ page1\n└─ … 998 more page finished")
    assert len(drawn(node("list"), *pages, fold=False).splitlines()) == 1001


def test_every_job_stands_once_however_many_dependencies_it_has() -> None:
    layer = [node(f"a{i}") for i in range(20)]
    next_layer = [node(f"b{i}", *(n.id for n in layer)) for i in range(20)]
    rows = tree([*layer, *next_layer], fold=False)
    assert sorted(row.node.id for row in rows if row.node) == sorted(
        n.id for n in [*layer, *next_layer]
    )
    assert any("also after a0, a1, a2 and 16 more" in row.note for row in rows)


def test_a_long_chain_does_not_run_off_the_screen() -> None:
    chain = [node("j0"), *(node(f"j{i}", f"j{i - 1}") for i in range(1, 5000))]
    rows = tree(chain, fold=True)
    assert len(rows) == 5000
    assert max(len(row.prefix) for row in rows) <= 3 * MAX_INDENT + 3


def test_dot_escapes_and_marks_conditions() -> None:
    text = dot(
        [
            node('say "hi"\\', state=State.FAILED),
            node("b", Parent('say "hi"\\', Condition.FAILURE), "elsewhere", kind=None),
        ],
        "my graph",
    )
    assert text == (
        'digraph "my graph" {\n'
        "  rankdir=LR;\n"
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"];\n'
        '  edge [fontname="sans-serif", fontsize=10];\n'
        '  j0 [label="say \\"hi\\"\\\\\\nt\\nfailed", fillcolor="#ffc9c9"];\n'
        '  j1 [label="b", shape=diamond];\n'
        '  j0 -> j1 [style=dashed, label="failure"];\n'
        "}"
    )


def test_mermaid_escapes_and_colours_states() -> None:
    text = mermaid([node("a<b", state=State.RUNNING), node('"c"', "a<b", kind=None)])
    assert text == (
        "flowchart LR\n"
        '  j0["a&lt;b<br/>t<br/>running"]:::running\n'
        '  j1{{"#quot;c#quot;"}}\n'
        "  j0 --> j1\n"
        "  classDef running fill:#d0ebff,color:#000"
    )
