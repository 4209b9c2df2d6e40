"""One run: kill, let everything settle, stop, check."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from broker_queue.client import JobQueue
from broker_queue.local_broker.node import PrivateNode
from tests.faults import checks, database, journal, record
from tests.faults.cancels import LateStart, late_starts
from tests.faults.client import Client
from tests.faults.evidence import Evidence
from tests.faults.plan import SCHEDULERS, WORKERS, Victim
from tests.faults.processes import Broker, EndedByItself, Process
from tests.faults.reaper import Reaper
from tests.faults.record import Canceled, Record, Retried, Submitted
from tests.faults.works import QUEUES, works
from tests.support.raw import RawClient
from tests.support.schedulers import wait_until_it_answers
from tests.support.waiting import TIMEOUT_FACTOR, until
from tests.support.winding_down import wind_down

NAMESPACE = "faults"
CLIENTS = 3

LOOK = 0.3
"""Seconds between looks at the database."""

QUEUES_SETTLE = 2.0
"""Seconds before the first kill: RabbitMQ 3.10 may lose a queue if it is killed within one second of
its declaration."""

PATIENCE = 20.0 * TIMEOUT_FACTOR
"""Seconds without any change, after which what is left open will stay so."""

SETTINGS = {
    "WINDOW": "40", "BATCH": "40", "HELLO_INTERVAL": "1", "LOG_LEVEL": "warning",
    "LEASE_AFTER": "0.3", "LEASE_DURATION": "3", "LOST_AFTER": "30", "TAKEOVER_AFTER": "3",
}  # fmt: skip
"""Small, so that the line, the window, leases and many transactions take part."""

NOTHING_IS_LOST = {"LOST_AFTER": "3600"}
"""While the broker lives: what is lost all the same must not be made good before anybody sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to do.

    Attributes:
        seed: of kills and graphs.
        kills: how many, besides those of clients, if the time suffices.
        seconds: how long at most; settling and checking come on top.
        mutation: a deliberate bug.
        folder: for the database, journals and logs.
        broker_dies: whether the broker is killed too.
    """

    seed: int
    kills: int
    seconds: float | None = None
    mutation: str | None = None
    folder: Path
    broker_dies: bool = True


@dataclass(slots=True, kw_only=True)
class Report:
    """What came of a run."""

    options: Options
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Process, place → how often."""
    pauses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Process, what became of it → how often."""
    takeovers: int = 0
    """How often another scheduler came to lead than the one before."""
    seconds: float = 0.0
    """From the first kill to the last."""
    states: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    rerun: int = 0
    """Runs of attempts that had run before."""
    submits: int = 0
    cancels: int = 0
    retries: int = 0
    copies: int = 0
    """Jobs that were made by them."""
    given_up: int = 0
    late_starts: list[LateStart] = field(default_factory=list)
    violations: dict[str, list[str]] = field(default_factory=dict)

    def violated(self, what: str, cases: list[str]) -> None:
        """Note violations, if there are any."""
        if cases:
            self.violations.setdefault(what, []).extend(cases)


async def run(options: Options) -> Report:
    """Do all of it; the broker, the processes and their folder are this run's own."""
    node = PrivateNode(options.folder / "broker")
    await asyncio.to_thread(node.start)
    try:
        return await Run(options, node).run()
    finally:
        await asyncio.to_thread(node.stop)


class Run:
    """The parts of a run."""

    def __init__(self, options: Options, node: PrivateNode) -> None:
        self._options = options
        self._url = node.url
        self._database = options.folder / "jobs.sqlite3"
        self._report = Report(options=options)
        self._record = Record()
        self._stopping = asyncio.Event()
        settings = {"URL": node.url, "NAMESPACE": NAMESPACE, "DATABASE": str(self._database)}
        settings |= SETTINGS if options.broker_dies else SETTINGS | NOTHING_IS_LOST
        self._environment = {f"BROKER_QUEUE_{name}": value for name, value in settings.items()}
        mutation = [] if options.mutation is None else [options.mutation]
        self._epochs = options.folder / "epochs.journal"
        self._processes = {
            victim: self._process(victim, "scheduler_process", str(self._epochs), *mutation)
            for victim in SCHEDULERS
        } | {
            victim: self._process(victim, "worker_process", victim, str(self._journal(victim)))
            for victim in WORKERS
        }
        self._processes[Victim.CLIENT] = self._process(
            Victim.CLIENT, "client_process",
            str(options.seed), str(self._database), str(self._journal(Victim.CLIENT)),
        )  # fmt: skip
        self._reaper = Reaper(
            options.seed,
            self._processes,
            Broker(node),
            self._database,
            options.folder / "kills.log",
        )

    async def run(self) -> Report:
        options = self._options
        try:
            for victim in (*SCHEDULERS, *WORKERS):
                await self._processes[victim].start()
            await wait_until_it_answers(self._url, NAMESPACE)
            async with self._watching() as watching:
                await self._until_workers_are_known()
                clients = self._start_clients(watching)
                await self._reaper.run(
                    options.kills, options.seconds, broker_dies=options.broker_dies
                )
                self._stopping.set()
                await self._settle(watching, clients)
            await self._stop()
        finally:
            for process in self._processes.values():
                await process.kill()
        self._check(watching)
        return self._report

    def _process(self, victim: Victim, module: str, *arguments: str) -> Process:
        log = self._options.folder / f"{victim.replace(' ', '-')}.log"
        command = [f"tests.faults.{module}", *arguments]
        return Process(victim, command, self._environment, log)

    def _journal(self, victim: Victim) -> Path:
        return self._options.folder / f"{victim.replace(' ', '-')}.journal"

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[database.Watching]:
        watching = database.Watching(self._database)

        async def look() -> None:
            while True:
                await asyncio.to_thread(watching.look)
                await asyncio.sleep(LOOK)

        looking = asyncio.create_task(look())
        try:
            yield watching
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            watching.look_at_all()
            watching.close()

    async def _until_workers_are_known(self) -> None:
        async with JobQueue(self._url, namespace=NAMESPACE) as queue:

            async def all_do() -> bool:
                return len(await queue.workers()) == len(WORKERS)

            await until(all_do)
        await asyncio.sleep(QUEUES_SETTLE)

    def _start_clients(self, watching: database.Watching) -> list[asyncio.Task[None]]:
        return [
            asyncio.create_task(
                Client(
                    self._url,
                    NAMESPACE,
                    works(self._options.seed, number),
                    self._record,
                    lambda: watching.progress.open,
                    self._stopping,
                ).run(),
                name=f"client {number}",
            )
            for number in range(CLIENTS)
        ]

    async def _settle(self, watching: database.Watching, clients: list[asyncio.Task[None]]) -> None:
        """Wait until all jobs have ended and all clients were answered, or nothing moves any more."""
        loop = asyncio.get_running_loop()
        moved_at = loop.time()
        last: tuple[int, ...] = ()
        while loop.time() - moved_at < PATIENCE:
            done = [client.done() for client in clients]
            state = (*watching.progress, len(self._record), *done)
            if state != last:
                moved_at, last = loop.time(), state
            if all(done) and watching.progress.open == watching.progress.handed_out == 0:
                break
            await asyncio.sleep(LOOK)
        for client in clients:
            if not client.done():
                client.cancel()
                self._record.unanswered.append(f"{client.get_name()} still waits for an answer")
        for client, end in zip(
            clients, await asyncio.gather(*clients, return_exceptions=True), strict=True
        ):
            if isinstance(end, Exception):
                self._record.unanswered.append(f"{client.get_name()}: {end!r}")

    async def _stop(self) -> None:
        """Stop everybody, now that all jobs have ended; see what is left."""
        async with RawClient(self._url, NAMESPACE) as raw:
            jobs = [raw.names.job_queue(*queue) for queue in QUEUES]
            left = await wind_down(
                raw,
                jobs,
                lambda: self._stop_processes(WORKERS),
                lambda: self._stop_processes(SCHEDULERS),
            )
        self._report.violated("left in a queue", left)

    async def _stop_processes(self, victims: Iterable[Victim]) -> None:
        for victim in victims:
            try:
                await self._processes[victim].stop()
            except EndedByItself as error:
                self._reaper.problems.append(str(error))

    def _check(self, watching: database.Watching) -> None:
        report, contents = self._report, database.read(self._database)
        lines = journal.read(path for path in map(self._journal, WORKERS) if path.exists())
        epochs = journal.read_epochs(self._epochs)
        for entry in record.read(self._journal(Victim.CLIENT)):
            self._record.note(entry)
        evidence = Evidence(contents.jobs, lines, self._record, epochs)
        report.violated("a process ended by itself", self._reaper.problems)
        report.violated("no standby took over", self._reaper.leaderless)
        report.violated("never answered", self._record.unanswered)
        report.violated("an end that changed", watching.changed)
        report.violated("the database contradicts itself", contents.broken)
        for what, cases in checks.violations(evidence).items():
            report.violated(what, cases)
        report.late_starts = late_starts(evidence)
        reaper = self._reaper
        report.kills, report.pauses = reaper.kills, reaper.pauses
        report.seconds = reaper.seconds
        report.takeovers = len(set(evidence.epochs)) - 1
        report.states.update(str(state) for state in contents.counts.elements())
        report.submits = len(self._record.of(Submitted))
        report.cancels = len(self._record.of(Canceled))
        report.retries = len(self._record.of(Retried))
        report.copies = sum(job.retry_of is not None for job in contents.jobs.values())
        report.given_up = sum(map(checks.is_given_up, contents.jobs.values()))
        starts = Counter((line.job, line.attempt) for line in lines if line.event == "start")
        report.runs = starts.total()
        report.rerun = report.runs - len(starts)
