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
from collections.abc import Mapping
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any
from uuid import UUID, uuid5

from msgspec import structs

from broker_queue.cli.document import Document, DocumentError, Path, read_document
from broker_queue.cli.job_options import read_options
from broker_queue.errors import ConfigurationError, Invalid, cycle_error
from broker_queue.graph import Edge, Graph, new_job, new_job_id
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
        self.problems: list[str] = []

    def graph(self, graph_id: str | None) -> Graph:
        top = self._document.value
        if not isinstance(top, dict) or not isinstance(top.get("jobs"), dict) or not top["jobs"]:
            self._problem((), 'expected a mapping "jobs" with one entry for each job')
            return Graph()
        self._check_fields(top, TOP_FIELDS, ())
        name = top.get("name")
        if name is not None and not isinstance(name, str):
            self._problem(("name",), "expected text")
            name = None
        known = graph_id or top.get("id")
        graph = Graph(name=name)
        if known is not None:
            graph.id = self._graph_id(known)
        self._make_ids(top["jobs"], graph.id if known is not None else None)
        defaults = self._mapping(top.get("defaults", {}), ("defaults",))
        self._check_fields(defaults, OPTIONS, ("defaults",))
        shared = self._options(defaults, ("defaults",))
        for key, entry in top["jobs"].items():
            self._add_job(graph, key, entry, shared)
        self._check(graph)
        return graph

    def _make_ids(self, jobs: Mapping[str, Any], graph_id: GraphId | None) -> None:
        """Ids follow from a given graph id and the names, so that a repeated submit is the same."""
        for key in jobs:
            made = JobId(str(uuid5(UUID(graph_id), key))) if graph_id else new_job_id()
            self._ids[key] = made

    def _add_job(self, graph: Graph, key: str, entry: Any, shared: Mapping[str, Any]) -> None:
        path: Path = ("jobs", key)
        if "/" in key:
            self._problem(path, 'a job\'s name may not have a "/", which references use')
        job = self._mapping(entry, path)
        self._check_fields(job, JOB_FIELDS, path)
        kind = job.get("type")
        if kind is not None and not isinstance(kind, str):
            self._problem((*path, "type"), "expected text")
            return
        if kind is None and ("args" in job or "references" in job):
            self._problem(path, 'has args but no "type"; only a milestone has no type')
            return
        args = job.get("args")
        references = self._references(job.get("references", {}), (*path, "references"))
        for at in references:
            args = self._make_place(args, at, (*path, "references", at))
        options = {**shared, **self._options(job, path)} if kind is not None else {}
        try:
            made = new_job(
                kind,
                args,
                dependencies=self._dependencies(job.get("after"), (*path, "after")),
                id=self._ids[key],
                name=key,
                **options,
            )
        except Invalid as error:
            self._problem((*path, *_fields(error)), error.message)
            return
        graph.jobs.append(structs.replace(made, references=list(references.values())))

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

    def _references(self, value: Any, path: Path) -> dict[str, messages.Reference]:
        found: dict[str, messages.Reference] = {}
        for at, target in self._mapping(value, path).items():
            here = (*path, at)
            if at and not at.startswith("/"):
                self._problem(here, f'a place in the args begins with "/"; did you mean "/{at}"?')
                continue
            name, pointer = self._target(target, here)
            job = self._job(name, here)
            if job:
                found[at] = messages.Reference(at=at, job=job, pointer=pointer)
        return found

    def _target(self, target: Any, path: Path) -> tuple[Any, str]:
        """Return the job and the pointer that ``fetch/path`` (or its long form) names."""
        if isinstance(target, dict):
            self._check_fields(target, ("job", "pointer"), path)
            pointer = target.get("pointer", "")
            if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
                self._problem((*path, "pointer"), 'a JSON pointer begins with "/"')
                pointer = ""
            return target.get("job"), pointer
        if not isinstance(target, str):
            return target, ""
        name, slash, rest = target.partition("/")
        return name, slash + rest

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

    def _check(self, graph: Graph) -> None:
        """Check what the wire's models say of sizes and names, and that nothing waits for itself."""
        if self.problems:
            return
        names = [job.name or "" for job in graph.jobs]
        try:
            message = messages.encode(graph.to_message())
            decode(message, messages.Submit)
        except Invalid as error:
            self._wire_problem(error, names)
        by_id: dict[str, str] = {made: name for name, made in self._ids.items()}
        waits_for = {
            job.name or "": [by_id[target] for target in _targets(job) if target in by_id]
            for job in graph.jobs
        }
        try:
            TopologicalSorter(waits_for).prepare()
        except CycleError as error:
            self._problem(("jobs",), str(cycle_error(error.args[1])))

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


def _targets(job: messages.NewJob) -> list[str]:
    edges = [t.job if isinstance(t, messages.Dependency) else t for t in job.dependencies]
    return [str(target) for target in (*edges, *(reference.job for reference in job.references))]


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
