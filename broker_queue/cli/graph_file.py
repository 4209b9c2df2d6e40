"""Graph files: a graph of jobs as YAML or JSON, read without any broker.

::

    name: nightly                    # optional, for people
    id: 0199b5d2-…                   # optional, a UUID: submitted again, only new jobs are added
    defaults: {max_attempts: 3}      # optional, options for every job that does not say otherwise
    jobs:
      fetch:                         # the job's name, unique in the file
        type: fetch
        args: {url: "https://example.org/data"}
      build:
        type: build
        args: {level: 3}
        references: {/source: fetch/path}    # args.source = what fetch's result has at /path
        after: [fetch]
        timeout: 10m
      notify:
        type: notify
        after: [{job: build, condition: failure}]
      all:                           # no type: a milestone, which needs no worker
        after: [build]

``after`` names jobs of the file, or existing jobs by their ids; `condition` is ``success``,
``failure`` or ``any``. Args are data and never searched for anything: what comes from results
stands in ``references``, from a JSON pointer into the args to a job's name, followed by a JSON
pointer into its result (or as ``{job: fetch, pointer: /path}``). A reference is a dependency too.
Further options: ``channel``, ``priority``, ``max_attempts``, ``timeout``, ``delay``,
``available_at``, ``backoff`` (a duration, or ``{initial, factor, maximum, jitter}``). Durations are
seconds or text such as ``90s``, ``10m``, ``1h30m``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid5

from msgspec import structs

from broker_queue.cli import limits
from broker_queue.cli.document import Document, DocumentError, Path, read_document
from broker_queue.cli.job_options import read_options
from broker_queue.errors import ConfigurationError, Invalid, cycle_error
from broker_queue.graph import Edge, Graph, new_job
from broker_queue.job import Condition, GraphId, JobId, parse_graph_id, parse_job_id
from broker_queue.protocol import messages
from broker_queue.protocol.codec import decode

TOP_FIELDS = ("name", "id", "defaults", "jobs")
OPTIONS = (
    "channel",
    "priority",
    "max_attempts",
    "timeout",
    "delay",
    "available_at",
    "backoff",
)
JOB_FIELDS = ("type", "args", "after", "references", *OPTIONS)

FOREIGN_WORDS = {
    "depends_on": "after",
    "dependencies": "after",
    "needs": "after",
    "requires": "after",
    "retries": "max_attempts",
    "attempts": "max_attempts",
    "kwargs": "args",
    "params": "args",
    "arguments": "args",
    "task": "type",
}
"""What other systems call it: the error names our word."""

MAX_PROBLEMS = 10


class GraphFileError(ConfigurationError):
    """A graph file that cannot work; every problem has its own line.

    Attributes:
        problems: one text each: file, line, field, what is wrong, what was perhaps meant.
    """

    def __init__(self, problems: list[str]) -> None:
        shown = problems[:MAX_PROBLEMS]
        if len(problems) > MAX_PROBLEMS:
            shown.append(f"… and {len(problems) - MAX_PROBLEMS} more")
        super().__init__("\n".join(shown))
        self.problems = problems


def read_graph(text: str, source: str, *, graph_id: str | None = None) -> Graph:
    """Return the graph that a file describes; each job carries its key in the file as its name.

    Args:
        text: YAML or JSON.
        source: the file's name, for errors.
        graph_id: in place of the file's own ``id``.

    Raises:
        GraphFileError: with all problems that were found.
    """
    try:
        document = read_document(text)
    except DocumentError as error:
        place = f"{source}:{error.line}" if error.line else source
        raise GraphFileError([f"{place}: {error.problem}"]) from None
    reader = _Reader(document, source)
    graph = reader.graph(graph_id)
    if reader.problems:
        raise GraphFileError(reader.problems)
    return graph


class _Reader:
    """Reads one document and collects what is wrong with it, so that one run shows everything."""

    def __init__(self, document: Document, source: str) -> None:
        self._document = document
        self._source = source
        self._ids: dict[str, JobId] = {}
        self._names: dict[str, str] = {}
        self._waits_for: dict[str, list[str]] = {}
        self.problems: list[str] = []

    def graph(self, graph_id: str | None) -> Graph:
        top = self._document.value
        if not isinstance(top, dict) or not isinstance(top.get("jobs"), dict):
            self._problem((), 'expected a mapping "jobs" with one entry for each job')
            return Graph()
        self._check_fields(top, TOP_FIELDS, ())
        name = top.get("name")
        if name is not None:
            name = self._checked(limits.label, name, ("name",))
        known = graph_id or top.get("id")
        graph = Graph(name=name)
        if known is not None:
            graph.id = self._graph_id(known)
        self._make_ids(top["jobs"], graph.id)
        defaults = self._mapping(top.get("defaults", {}), ("defaults",))
        self._check_fields(defaults, OPTIONS, ("defaults",))
        shared = self._options(defaults, ("defaults",))
        for key, entry in top["jobs"].items():
            self._add_job(graph, key, entry, shared)
        self._check_cycle()
        self._check_message(graph)
        return graph

    def _make_ids(self, jobs: Mapping[str, Any], graph_id: GraphId) -> None:
        """Ids follow from the graph's id and the names, so that with it a submit can be repeated."""
        self._ids = {key: JobId(str(uuid5(UUID(graph_id), key))) for key in jobs}
        self._names = {made: name for name, made in self._ids.items()}

    def _add_job(self, graph: Graph, key: str, entry: Any, shared: Mapping[str, Any]) -> None:
        path: Path = ("jobs", key)
        self._check_name(key, path)
        job = self._mapping(entry, path)
        self._check_fields(job, JOB_FIELDS, path)
        kind = self._type(job, path)
        references = self._references(job.get("references", {}), (*path, "references"))
        args = job.get("args")
        for at in references:
            args = self._make_place(args, at, (*path, "references", at))
        options = self._options(job, path)
        edges = self._dependencies(job.get("after"), (*path, "after"))
        self._check_edges(edges, references, path)
        self._note_waiting(key, edges, references)
        if kind is not None:
            options = {**shared, **options}
            if "delay" in options and "available_at" in options:
                self._problem((*path, "delay"), "give either delay or available_at, not both")
        else:
            options = {}
        try:
            made = new_job(kind, args, dependencies=edges, id=self._ids[key], name=key, **options)
        except Invalid as error:
            self._problem((*path, *_fields(error)), error.message)
            return
        graph.jobs.append(structs.replace(made, references=list(references.values())))

    def _check_name(self, key: str, path: Path) -> None:
        self._checked(limits.label, key, path)
        if "/" in key:
            self._problem(path, 'a job\'s name may not have a "/", which references use')

    def _type(self, job: Mapping[str, Any], path: Path) -> str | None:
        kind = job.get("type")
        if kind is None:
            if "args" in job or "references" in job:
                self._problem(path, 'has args but no "type"; only a milestone has no type')
            return None
        if not isinstance(kind, str):
            self._problem((*path, "type"), "expected text")
            return None
        return self._checked(limits.job_type, kind, (*path, "type"))

    def _options(self, job: Mapping[str, Any], path: Path) -> dict[str, Any]:
        given = {name: job[name] for name in OPTIONS if name in job}
        return read_options(given, lambda name, problem: self._problem((*path, name), problem))

    def _dependencies(self, value: Any, path: Path) -> list[Edge]:
        if value is None:
            return []
        items = value if isinstance(value, list) else [value]
        edges = [self._dependency(item, (*path, index)) for index, item in enumerate(items)]
        return [edge for edge in edges if edge is not None]

    def _dependency(self, item: Any, path: Path) -> Edge | None:
        condition = Condition.SUCCESS
        if isinstance(item, dict):
            self._check_fields(item, ("job", "condition"), path)
            word = item.get("condition", condition.value)
            if word not in list(Condition):
                known = ", ".join(Condition)
                self._problem((*path, "condition"), f"expected one of {known}, got {word!r}")
                return None
            condition, item = Condition(word), item.get("job")
        job = self._job(item, path)
        return Edge(job, condition) if job else None

    def _check_edges(
        self, edges: list[Edge], references: Mapping[str, messages.Reference], path: Path
    ) -> None:
        """Refuse what no end of a dependency satisfies; a reference wants it to finish."""
        wanted: dict[str, set[Condition]] = {}
        for edge in edges:
            wanted.setdefault(edge.job, set()).add(edge.condition)
        for reference in references.values():
            wanted.setdefault(str(reference.job), set()).add(Condition.SUCCESS)
        for job, conditions in wanted.items():
            if {Condition.SUCCESS, Condition.FAILURE} <= conditions:
                self._problem(
                    (*path, "after"),
                    f"waits for {self._names.get(job, job)!r} both to finish (as a reference "
                    "does) and to fail; no end of it satisfies both",
                )

    def _note_waiting(
        self, key: str, edges: list[Edge], references: Mapping[str, messages.Reference]
    ) -> None:
        targets = (*(edge.job for edge in edges), *(item.job for item in references.values()))
        self._waits_for[key] = [self._names[str(job)] for job in targets if job in self._names]

    def _references(self, value: Any, path: Path) -> dict[str, messages.Reference]:
        found: dict[str, messages.Reference] = {}
        for at, target in self._mapping(value, path).items():
            here = (*path, at)
            if at and not at.startswith("/"):
                self._problem(here, f'a place in the args begins with "/"; did you mean "/{at}"?')
                continue
            if self._checked(limits.pointer, at, here) is None:
                continue
            name, pointer = self._target(target, here)
            job = self._job(name, here)
            if job:
                found[at] = messages.Reference(at=at, job=job, pointer=pointer)
        for outer, inner in pairwise(sorted(f"{at}/" for at in found)):
            if inner.startswith(outer):
                self._problem((*path, inner[:-1]), f"this place lies inside {outer[:-1]!r}")
        return found

    def _target(self, target: Any, path: Path) -> tuple[Any, str]:
        """Return the job and the pointer that ``fetch/path`` (or its long form) names."""
        if isinstance(target, dict):
            self._check_fields(target, ("job", "pointer"), path)
            pointer = target.get("pointer", "")
            if not isinstance(pointer, str):
                self._problem((*path, "pointer"), 'a JSON pointer begins with "/"')
                pointer = ""
            return target.get("job"), self._pointer(pointer, (*path, "pointer"))
        if not isinstance(target, str):
            return target, ""
        name, slash, rest = target.partition("/")
        return name, self._pointer(slash + rest, path)

    def _pointer(self, text: str, path: Path) -> str:
        return self._checked(limits.pointer, text, path) or ""

    def _make_place(self, args: Any, at: str, path: Path) -> Any:
        """Put null where the scheduler is to put the value, and make missing members on the way."""
        steps = [step.replace("~1", "/").replace("~0", "~") for step in at.split("/")[1:]]
        if args is None:
            args = {} if steps else None
        container = args
        for position, step in enumerate(steps):
            last = position == len(steps) - 1
            if isinstance(container, dict):
                container = container.setdefault(step, None if last else {})
            elif isinstance(container, list) and step.isdigit() and int(step) < len(container):
                container = container[int(step)]
            else:
                self._problem(path, f"the args have no place for {step!r} here")
                break
        return args

    def _job(self, name: Any, path: Path) -> JobId | None:
        """Return the id of a job of this file, or of an existing job named by its id."""
        if not isinstance(name, str) or not name:
            self._problem(path, f"expected the name of a job, got {name!r}")
            return None
        if name in self._ids:
            return self._ids[name]
        try:
            return parse_job_id(name)
        except ValueError:
            self._problem(path, f"no job {name!r} in this file{_meant(name, self._ids)}")
            return None

    def _graph_id(self, value: Any) -> GraphId:
        try:
            return parse_graph_id(str(value))
        except ValueError as error:
            self._problem(("id",), str(error))
            return Graph().id

    def _check_cycle(self) -> None:
        try:
            TopologicalSorter(self._waits_for).prepare()
        except CycleError as error:
            self._problem(("jobs",), str(cycle_error(error.args[1])))

    def _check_message(self, graph: Graph) -> None:
        """Check what the wire's models say beyond what was checked here, if anything."""
        if self.problems:
            return
        try:
            decode(messages.encode(graph.to_message()), messages.Submit)
        except Invalid as error:
            self._wire_problem(error, [job.name or "" for job in graph.jobs])

    def _checked(self, check: Callable[[Any], str], value: Any, path: Path) -> str | None:
        try:
            return check(value)
        except ValueError as error:
            self._problem(path, str(error))
            return None

    def _wire_problem(self, error: Invalid, names: list[str]) -> None:
        field = str(error.details.get("field", ""))
        found = re.match(r"jobs\[(\d+)\]\.?(.*)", field)
        problem = error.message.removeprefix(f"{field}: ")
        if found is None:
            self._problem((field.split(".")[-1],), problem)
            return
        inside = tuple(part for part in found[2].split(".") if part)
        self._problem(("jobs", names[int(found[1])], *inside), problem)

    def _mapping(self, value: Any, path: Path) -> dict[str, Any]:
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        self._problem(path, f"expected a mapping, got {value!r}")
        return {}

    def _check_fields(self, value: Mapping[str, Any], known: tuple[str, ...], path: Path) -> None:
        for name in value:
            if name in known:
                continue
            ours = FOREIGN_WORDS.get(name)
            meant = f"; here it is {ours!r}" if ours in known else _meant(name, known)
            self._problem((*path, name), f"unknown field{meant}")

    def _problem(self, path: Path, text: str) -> None:
        line = self._document.line_of(path)
        place = f"{self._source}:{line}" if line else self._source
        where = _shown(path)
        self.problems.append(f"{place}: {where}: {text}" if where else f"{place}: {text}")


def _meant(name: str, known: Any) -> str:
    near = get_close_matches(name, [str(item) for item in known], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _fields(error: Invalid) -> tuple[str, ...]:
    field = error.details.get("field")
    return (str(field),) if field else ()


def _shown(path: Path) -> str:
    """Return a path as people write it: ``jobs.build.after[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
