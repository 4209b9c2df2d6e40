"""The graph: ``find-packages`` → any number of ``measure`` → ``rank`` → ``report``."""

from __future__ import annotations

from typing import NamedTuple

from broker_queue import Graph, JobHandle
from broker_queue.graph import new_job_id


class Analysis(NamedTuple):
    """The graph and those of its jobs that one looks at later."""

    graph: Graph
    rank: JobHandle
    report: JobHandle
    notify_failure: JobHandle


def build() -> Analysis:
    """Return the graph; the ``measure`` jobs join it when ``find-packages`` has run."""
    graph = Graph("standard library")
    rank_id = new_job_id()  # known beforehand, so that find-packages can make it wait for more
    find = graph.add("find-packages", {"rank": rank_id})
    rank = graph.add("rank", {"measurements": {}}, dependencies=[find], id=rank_id)
    report = graph.add("report", {"ranking": rank.result}, max_attempts=2)
    text = "the report of the standard library could not be written"
    notify = graph.add("notify-failure", {"text": text}, dependencies=[report.failed])
    return Analysis(graph, rank, report, notify)
