"""The worker: ``broker-queue worker examples.standard_library.jobs:worker``."""

from __future__ import annotations

import logging
import platform

from pydantic import BaseModel

from broker_queue import Job, JobId, Worker
from broker_queue.graph import json_pointer
from examples.standard_library import analysis, ranking, report
from examples.standard_library.analysis import Measurement
from examples.standard_library.ranking import Ranking

# One job at a time: jobs that compute gain nothing from threads.
worker = Worker(concurrency=1)


class Find(BaseModel):
    rank: JobId


class Measure(BaseModel):
    package: str


class Rank(BaseModel):
    measurements: dict[str, Measurement]


class Write(BaseModel):
    ranking: Ranking


class Report(BaseModel):
    html: str
    markdown: str


class Notify(BaseModel):
    text: str


@worker.job("find-packages")
def find_packages(args: Find, job: Job) -> list[str]:
    """Add a job for each package, and let `rank`, which waits for this one, wait for them all."""
    packages = analysis.find_packages(analysis.library_folder())
    measured = {
        json_pointer(("measurements", name)): job.add("measure", Measure(package=name), name=name)
        for name in packages
    }
    job.extend(args.rank, references={at: measure.result for at, measure in measured.items()})
    return packages


@worker.job("measure")
def measure(args: Measure, job: Job) -> Measurement:
    def tell(number: int, count: int, file: str) -> None:
        job.raise_if_canceled()
        job.progress(number / count, file)

    return analysis.measure_package(analysis.library_folder(), args.package, tell)


@worker.job("rank")
def rank(args: Rank) -> Ranking:
    return ranking.rank(args.measurements.values())


@worker.job("report")
def write_report(args: Write) -> Report:
    python = platform.python_version()
    return Report(
        html=report.html(args.ranking, python), markdown=report.markdown(args.ranking, python)
    )


@worker.job("notify-failure")
def notify_failure(args: Notify) -> None:
    logging.getLogger(__name__).error("%s", args.text)
