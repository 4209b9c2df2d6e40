"""The show: starts what is needed, submits the graph, follows it, and writes the report.

Everything that was started is stopped at the end, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep

from broker_queue import JobQueue, JobStatus, State
from broker_queue.cli.tally import Snapshot
from examples.show.demo import NoReport, present, stopped_in_the_end
from examples.show.place import Place
from examples.show.screen import Screen
from examples.standard_library import graph, place, summary
from examples.standard_library.graph import Analysis
from examples.standard_library.jobs import Report, worker
from examples.standard_library.ranking import Ranking
from examples.standard_library.summary import Outcome

DEFAULT_FOLDER = Path("standard-library-report")
PAGE = 1_000
KEEP_PAUSE = 0.5
LOOK_PAUSE = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    options = _parser().parse_args(arguments)
    return present(
        "Python's standard library, analysed as a graph of jobs",
        lambda shown: _run(options, shown),
    )


def _run(options: argparse.Namespace, shown: Screen) -> None:
    if options.attach:
        _report(options, shown, place.attach(shown))
    else:
        with stopped_in_the_end(shown) as started:
            _report(options, shown, place.start(shown, started))
    summary.show_times(shown.console, shown.seconds)
    summary.show_what_next(shown.console, attached=options.attach)


def _report(options: argparse.Namespace, shown: Screen, there: Place) -> None:
    outcome, report = asyncio.run(there.alongside(_analyse(there, shown)))
    summary.show_outcome(shown.console, outcome, _write(report, options.report))
    if options.keep and there.processes is not None:
        summary.show_commands_for(shown.console, there, outcome.analysis)
        _keep(there)


async def _analyse(there: Place, shown: Screen) -> tuple[Outcome, Report]:
    """Submit the graph, follow it to its end, and return what came of it.

    Raises:
        NoReport: the report was not made.
    """
    analysis = graph.build()
    async with there.queue() as queue:
        with shown.step("graph", "submitting it") as step:
            await queue.submit(analysis.graph)
            step.outcome = f"{len(analysis.graph)} jobs submitted; find-packages will add more"
        await _follow(queue, analysis, shown)
        jobs = (await queue.list(graph=analysis.graph, limit=PAGE)).jobs
        shown.seconds |= summary.seconds_by_type(jobs)
        if (await queue.job_status(analysis.report)).state is not State.FINISHED:
            raise NoReport(await _what_failed(queue, analysis, jobs))
        skipped = (await queue.explain(analysis.notify_failure)).summary
        for job in (analysis.report, analysis.notify_failure):
            skipped = skipped.replace(f" {job}", "")  # their types say enough here
        ranking = await queue.result(analysis.rank, model=Ranking)
        outcome = Outcome(analysis, ranking, jobs, skipped)
        return outcome, await queue.result(analysis.report, model=Report)


async def _follow(queue: JobQueue, analysis: Analysis, shown: Screen) -> None:
    """Show the jobs until all have ended."""
    order: dict[str | None, int] = {kind: place for place, kind in enumerate(worker.types)}
    with shown.board() as board:
        while True:
            status = await queue.graph(analysis.graph)
            counts: dict[str | None, dict[State, int]] = {}
            for count in sorted(status.counts, key=lambda count: order[count.type]):
                counts.setdefault(count.type, {})[count.state] = count.jobs
            board.show(Snapshot("jobs", counts))
            if status.finished is not None:
                return
            await asyncio.sleep(LOOK_PAUSE)


async def _what_failed(queue: JobQueue, analysis: Analysis, jobs: Sequence[JobStatus]) -> str:
    lines = [(await queue.explain(analysis.report)).summary]
    for job in jobs:
        if job.state is State.FAILED:
            failed = await queue.job_status(job)
            lines.append(f"  {job.type} {job.name or ''} {job.id}: {failed.reason}")
    return "\n".join(lines)


def _write(report: Report, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if folder == DEFAULT_FOLDER:  # nobody asked for it, so it hides itself from git
        (folder / ".gitignore").write_text("*\n")
    path = folder / "standard-library.html"
    path.write_text(report.html, encoding="utf-8")
    path.with_suffix(".md").write_text(report.markdown, encoding="utf-8")
    return path.absolute()


def _keep(there: Place) -> None:
    with suppress(KeyboardInterrupt):
        while there.processes is not None:
            there.processes.check()
            sleep(KEEP_PAUSE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.standard_library",
        description="Analyse Python's own standard library with a graph of jobs.",
    )
    parser.add_argument(
        "--attach",
        action="store_true",
        help="use the scheduler and workers that run at BROKER_QUEUE_URL; start nothing",
    )
    parser.add_argument(
        "--report",
        metavar="FOLDER",
        type=Path,
        default=DEFAULT_FOLDER,
        help="where the report goes (default: %(default)s)",
    )
    parser.add_argument(
        "--keep", action="store_true", help="let everything run on afterwards, until Ctrl-C"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
