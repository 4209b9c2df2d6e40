"""The show: starts what is needed, submits the graph, kills one of the workers in the middle.

Everything that was started is stopped at the end, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence

from rich.text import Text

from broker_queue import BrokerQueueError, JobQueue, JobStatus, State
from examples.languages import graph, summary
from examples.languages.building import BuildFailed
from examples.languages.graph import Analysis
from examples.languages.summary import Killed
from examples.languages.workers import BY_NAME, LANGUAGES, Command, Language, Missing
from examples.show import place
from examples.show.demo import NoReport, present, stopped_in_the_end
from examples.show.place import Place
from examples.show.processes import Processes
from examples.show.screen import Screen

ENOUGH = 3
"""Languages, of which Python is one: `read` and `report` are in Python."""

PYTHON = BY_NAME["python"]

Workers = Mapping[Language, Command]


class NotEnough(BrokerQueueError):
    """Too few languages are here; the text says how to get others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    options = _parser().parse_args(arguments)
    return present("One text, one graph, six languages", lambda shown: _run(shown, options.kill))


def _run(shown: Screen, to_kill: str | None) -> None:
    workers = _build(shown)
    victim = _victim(workers, to_kill)
    types = [kind for language in workers for kind in (*language.types, language.rehearsal)]
    with stopped_in_the_end(shown) as started:
        there, processes = place.start(shown, started, types)
        with shown.step("scheduler", "waiting for it") as step:
            asyncio.run(there.alongside(there.ready(JobQueue.info, step.tell)))
            step.outcome = "it answers"
        with shown.step("workers", "starting them") as step:
            for language, command in workers.items():
                processes.start(language.name, *command.words, **command.environment)
            step.outcome = f"{len(workers)} started, one for each language"
        analysis = graph.build(workers, victim)
        story = _Story(
            shown,
            there,
            processes=processes,
            workers=workers,
            victim=victim,
            analysis=analysis,
        )
        asyncio.run(there.alongside(story.run()))
        summary.show(shown.console, workers, story.jobs, story.killed, story.report)


class _Story:
    """The graph from its submit to its report, and the death of a worker on the way.

    Attributes:
        jobs: of the graph, as they ended.
        killed: who was killed.
        report: Markdown.
    """

    def __init__(
        self,
        shown: Screen,
        there: Place,
        *,
        processes: Processes,
        workers: Workers,
        victim: Language,
        analysis: Analysis,
    ) -> None:
        self._shown = shown
        self._there = there
        self._processes = processes
        self._workers = workers
        self._victim = victim
        self._analysis = analysis
        self.jobs: Sequence[JobStatus] = ()
        self.killed: Killed | None = None
        self.report = ""

    async def run(self) -> None:
        """Follow the graph to its end.

        Raises:
            NoReport: it did not end with one.
        """
        analysis = self._analysis
        async with self._there.queue() as queue:
            await queue.submit(analysis.graph)
            self._shown.console.print(f"\n{len(analysis.graph)} jobs submitted\n")
            async for event in queue.watch(graph=analysis.graph):
                summary.show_event(self._shown.console, event, self._workers)
                if event.job == analysis.pause and event.state is State.RUNNING:
                    await self._kill(queue)
            self.jobs = (await queue.list(graph=analysis.graph)).jobs
            last = await queue.job_status(analysis.report)
            if last.state is not State.FINISHED:
                raise NoReport((await queue.explain(analysis.report)).summary)
            self.report = last.result["report"]

    async def _kill(self, queue: JobQueue) -> None:
        """Kill the worker that holds `pause`, and start another in its place."""
        if self.killed is not None:
            return
        name, command = self._victim.name, self._workers[self._victim]
        status = await queue.job_status(self._analysis.pause)
        self.killed = Killed(self._victim, status.worker)
        await asyncio.to_thread(self._processes.kill, name)
        summary.show_killed(self._shown.console, self.killed)
        self._processes.start(name, *command.words, **command.environment)


def _build(shown: Screen) -> Workers:
    """Return the workers that can be had here.

    Raises:
        NotEnough: they are too few.
    """
    workers: dict[Language, Command] = {}
    missing: list[str] = []
    with shown.step("build", "building the workers") as step:
        for language in LANGUAGES:
            step.tell(f"the worker in {language.title}")
            try:
                workers[language] = language.build()
            except (Missing, BuildFailed) as error:
                missing.append(f"  {language.title}: {error}")
        step.outcome = "workers in " + ", ".join(language.title for language in workers)
    if missing:
        shown.console.print(Text("\n".join(["left out:", *missing])), soft_wrap=True)
    if len(workers) < ENOUGH or PYTHON not in workers:
        listed = "\n".join(missing)
        raise NotEnough(f"it needs Python and two languages more; not here are:\n{listed}")
    return workers


def _victim(workers: Workers, name: str | None) -> Language:
    """Return who is to be killed: who was named, or the first that does not run `read`."""
    if name is None:
        return next(language for language in workers if language is not PYTHON)
    for language in workers:
        if language.name == name:
            return language
    raise NotEnough(f"there is no worker in {name} to be killed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.languages",
        description="Run one graph whose jobs are in six languages, and kill a worker meanwhile.",
    )
    parser.add_argument(
        "--kill",
        metavar="LANGUAGE",
        choices=[language.name for language in LANGUAGES],
        help="whose worker is killed: %(choices)s (default: the first but Python that is here)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
