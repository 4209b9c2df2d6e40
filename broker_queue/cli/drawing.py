"""A graph as text: a tree for the terminal, DOT for Graphviz, a Mermaid flow chart. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker_queue.job import Condition, State

FOLD_ABOVE = 6
"""More leaves of one type and state than this under one job are shown as one line."""

SHOWN_OF_FOLDED = 2
NAMED_PARENTS = 3
MAX_INDENT = 12
"""Levels that are indented; a chain of a hundred jobs must not run off the screen."""

FILL: Mapping[State, str] = {
    State.WAITING: "#f1f3f5",
    State.SCHEDULED: "#e5dbff",
    State.QUEUED: "#fff3bf",
    State.RUNNING: "#d0ebff",
    State.FINISHED: "#d3f9d8",
    State.FAILED: "#ffc9c9",
    State.SKIPPED: "#dee2e6",
    State.CANCELED: "#dee2e6",
}
"""Light fills that black text is readable on."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A dependency as it is drawn."""

    id: str
    condition: Condition = Condition.SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A job as it is drawn; without a state it is not submitted yet."""

    id: str
    label: str
    type: str | None = None
    state: State | None = None
    parents: tuple[Parent, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tree: a job, or (`node` is None) a remark in its place."""

    prefix: str
    node: Node | None
    note: str = ""


def tree(nodes: Sequence[Node], *, fold: bool) -> list[Row]:
    """Return the graph as a tree in which every job stands once.

    A job stands under the deepest of its dependencies (the last such); its other dependencies are
    named in the note. With `fold`, many leaves that look alike become one line.
    """
    by_id = {node.id: node for node in nodes}
    home = _homes(nodes, by_id)
    children: dict[str | None, list[Node]] = {}
    for node in nodes:
        children.setdefault(home[node.id], []).append(node)
    rows: list[Row] = []
    pending = _branches(None, "", children, fold, top=True)
    while pending:
        prefix, inner, item = pending.pop()
        if isinstance(item, str):
            rows.append(Row(prefix, None, item))
            continue
        rows.append(Row(prefix, item, _note(item, home[item.id], by_id)))
        pending.extend(_branches(item.id, inner, children, fold))
    return rows


def dot(nodes: Sequence[Node], name: str) -> str:
    """Return the graph in Graphviz's language: ``broker-queue graph ID --format dot | dot -Tsvg``."""
    numbers = {node.id: index for index, node in enumerate(nodes)}
    lines = [
        f"digraph {_dot_text(name)} {{",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"];',
        '  edge [fontname="sans-serif", fontsize=10];',
    ]
    for node in nodes:
        fill = f", fillcolor={_dot_text(FILL[node.state])}" if node.state else ""
        shape = ", shape=diamond" if node.type is None else ""
        lines.append(f"  j{numbers[node.id]} [label={_dot_text(_caption(node))}{shape}{fill}];")
    for parent, condition, child in _edges(nodes, numbers):
        plain = condition is Condition.SUCCESS
        look = "" if plain else f" [style=dashed, label={_dot_text(condition.value)}]"
        lines.append(f"  j{parent} -> j{child}{look};")
    return "\n".join([*lines, "}"])


def mermaid(nodes: Sequence[Node]) -> str:
    """Return the graph as a Mermaid flow chart, as Markdown pages on GitHub show it."""
    numbers = {node.id: index for index, node in enumerate(nodes)}
    lines = ["flowchart LR"]
    for node in nodes:
        caption = _mermaid_text(_caption(node)).replace("\n", "<br/>")
        left, right = ("{{", "}}") if node.type is None else ("[", "]")
        state = f":::{node.state.value}" if node.state else ""
        lines.append(f'  j{numbers[node.id]}{left}"{caption}"{right}{state}')
    for parent, condition, child in _edges(nodes, numbers):
        arrow = "-->" if condition is Condition.SUCCESS else f"-. {condition.value} .->"
        lines.append(f"  j{parent} {arrow} j{child}")
    used = [state for state in State if any(node.state is state for node in nodes)]
    lines += [f"  classDef {state.value} fill:{FILL[state]},color:#000" for state in used]
    return "\n".join(lines)


def _homes(nodes: Sequence[Node], by_id: Mapping[str, Node]) -> dict[str, str | None]:
    """Return for each job the dependency that it is drawn under."""
    depth = _depths(nodes, by_id)
    home: dict[str, str | None] = {}
    for node in nodes:
        known = [parent.id for parent in node.parents if parent.id in by_id]
        deepest = max((depth[parent] for parent in known), default=0)
        home[node.id] = next((p for p in reversed(known) if depth[p] == deepest), None)
    return home


def _depths(nodes: Sequence[Node], by_id: Mapping[str, Node]) -> dict[str, int]:
    """Return the longest way from a root to each job (Kahn's order, no recursion)."""
    open_parents = {n.id: len({p.id for p in n.parents if p.id in by_id}) for n in nodes}
    children: dict[str, list[str]] = {}
    for node in nodes:
        for parent in {p.id for p in node.parents if p.id in by_id}:
            children.setdefault(parent, []).append(node.id)
    depth = dict.fromkeys(by_id, 0)
    ready = [identifier for identifier, count in open_parents.items() if count == 0]
    for identifier in ready:  # grows while it is read
        for child in children.get(identifier, ()):
            depth[child] = max(depth[child], depth[identifier] + 1)
            open_parents[child] -= 1
            if open_parents[child] == 0:
                ready.append(child)
    return depth


def _branches(
    parent: str | None,
    inner: str,
    children: Mapping[str | None, list[Node]],
    fold: bool,
    *,
    top: bool = False,
) -> list[tuple[str, str, Node | str]]:
    """Return what stands under `parent` as (own prefix, prefix below, job or remark), reversed."""
    items: list[Node | str] = list(children.get(parent, ()))
    if fold:
        items = _folded(children.get(parent, ()), children)
    if top:
        return [("", "", item) for item in reversed(items)]
    if len(inner) >= 3 * MAX_INDENT:
        return [(inner, inner, item) for item in reversed(items)]
    last = len(items) - 1
    found = [
        (inner + ("└─ " if index == last else "├─ "), inner + ("   " if index == last else "│  "))
        for index in range(len(items))
    ]
    return [(*found[index], items[index]) for index in range(last, -1, -1)]


def _folded(
    siblings: Sequence[Node], children: Mapping[str | None, list[Node]]
) -> list[Node | str]:
    leaves = Counter((n.type, n.state) for n in siblings if n.id not in children)
    seen: Counter[tuple[str | None, State | None]] = Counter()
    items: list[Node | str] = []
    for node in siblings:
        look = (node.type, node.state)
        if node.id in children or leaves[look] <= FOLD_ABOVE:
            items.append(node)
            continue
        seen[look] += 1
        if seen[look] <= SHOWN_OF_FOLDED:
            items.append(node)
        elif seen[look] == SHOWN_OF_FOLDED + 1:
            items.append(_folded_text(node, leaves[look] - SHOWN_OF_FOLDED))
    return items


def _folded_text(node: Node, count: int) -> str:
    state = f" {node.state.value}" if node.state else ""
    return f"… {count:,} more {node.type or 'milestone'}{state}"


def _note(node: Node, home: str | None, by_id: Mapping[str, Node]) -> str:
    """Say what the place in the tree does not: the other dependencies, and conditions."""
    words: list[str] = []
    plain: list[str] = []
    for parent in node.parents:
        label = by_id[parent.id].label if parent.id in by_id else parent.id
        if parent.condition is Condition.SUCCESS:
            if parent.id != home:
                plain.append(label)
        elif parent.id == home:
            words.append("if it failed" if parent.condition is Condition.FAILURE else "in any case")
        else:
            ending = "failed" if parent.condition is Condition.FAILURE else "ended"
            words.append(f"if {label} failed" if ending == "failed" else f"after {label} ended")
    if plain:
        more = f" and {len(plain) - NAMED_PARENTS:,} more" if len(plain) > NAMED_PARENTS else ""
        also = "also after" if home else "after"
        words.append(f"{also} {', '.join(plain[:NAMED_PARENTS])}{more}")
    return "; ".join(words)


def _edges(nodes: Sequence[Node], numbers: Mapping[str, int]) -> list[tuple[int, Condition, int]]:
    return [
        (numbers[parent.id], parent.condition, numbers[node.id])
        for node in nodes
        for parent in node.parents
        if parent.id in numbers
    ]


def _caption(node: Node) -> str:
    state = f"\n{node.state.value}" if node.state else ""
    kind = f"\n{node.type}" if node.type and node.type != node.label else ""
    return f"{node.label}{kind}{state}"


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _mermaid_text(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "#quot;").replace("<", "&lt;")
