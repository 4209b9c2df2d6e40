"""The graph of ``graph.yaml``, or what the languages that are here can do of it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import yaml

from broker_queue import Graph, JobId
from broker_queue.cli.graph_file import read_graph
from examples.languages.workers import Language

FILE = Path(__file__).with_name("graph.yaml")


class Analysis(NamedTuple):
    """The graph and those of its jobs that one looks at later."""

    graph: Graph
    pause: JobId
    report: JobId


def build(
    languages: Collection[Language], paused: Language, seconds: float | None = None
) -> Analysis:
    """Return the graph without what none of the languages runs.

    Args:
        languages: that have a worker.
        paused: the one that `pause` runs in.
        seconds: that `pause` takes, if not what the file says.
    """
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    jobs = document["jobs"]
    jobs["pause"]["type"] = paused.rehearsal
    if seconds is not None:
        jobs["pause"]["args"]["seconds"] = seconds
    types = {kind for language in languages for kind in (*language.types, language.rehearsal)}
    left_out = {name for name, job in jobs.items() if job["type"] not in types}
    for name in left_out:
        del jobs[name]
    for job in jobs.values():
        references = job.get("references", {})
        job["references"] = {at: name for at, name in references.items() if name not in left_out}
    graph = read_graph(json.dumps(document), FILE.name)
    ids = {job.name: JobId(job.id) for job in graph.jobs}
    return Analysis(graph, ids["pause"], ids["report"])
