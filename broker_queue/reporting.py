"""A worker's reports: many small ones in one message, each confirmed before its job is settled.

Nothing waits to fill a message: what is there when the one before has been written goes out
together. A report whose confirm is lost is published again; the scheduler folds it once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, get_args

from msgspec import Raw

from broker_queue.background import Background
from broker_queue.errors import Unavailable
from broker_queue.failpoints import Point, failpoint
from broker_queue.protocol import names as words
from broker_queue.protocol.messages import encode
from broker_queue.protocol.reports import BatchItem, SmallReport
from broker_queue.requests import Requests

log = logging.getLogger(__name__)

BATCH_ITEMS = 200
BATCH_BYTES = 512 << 10
BATCHES_AT_ONCE = 4
PAUSE = 0.5
"""Seconds before a report that was not confirmed is published again."""

IN_A_BATCH = frozenset(get_args(SmallReport))


class Report(NamedTuple):
    """A report about the holder of a token.

    Attributes:
        started: milliseconds since the epoch.
        is_void: tells whether it must not be said any more.
        confirmed: whether the broker has it, once it has; else it has become void.
    """

    token: str
    kind: str
    body: bytes
    started: int | None
    is_void: Callable[[], bool] | None
    confirmed: asyncio.Future[bool]


class Reporting:
    """Publishes reports while `background` goes on.

    What was not confirmed by then is delivered to another worker by the broker.

    Args:
        requests: where to.
        background: of the worker.
    """

    def __init__(self, requests: Requests, background: Background) -> None:
        self._requests = requests
        self._background = background
        self._waiting: deque[Report] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Semaphore(BATCHES_AT_ONCE)
        background.start(self._run(), "reporting")

    def send(
        self,
        token: str,
        kind: str,
        body: bytes,
        started: int | None = None,
        *,
        is_void: Callable[[], bool] | None = None,
    ) -> Report:
        """Publish a report soon; await its ``confirmed`` before the job is acknowledged.

        Args:
            token: of the hand-over.
            kind: of report.
            body: JSON.
            started: when the run began, milliseconds since the epoch.
            is_void: asked before each time that it is published.
        """
        confirmed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        report = Report(token, kind, body, started, is_void, confirmed)
        self._waiting.append(report)
        self._arrived.set()
        return report

    @property
    def requests(self) -> Requests:
        """Where reports go out that want an answer at once."""
        return self._requests

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            await self._room.acquire()
            self._arrived.clear()
            reports = self._take()
            if self._waiting:
                self._arrived.set()
            if not reports:
                self._room.release()
                continue
            self._background.start(self._publish(reports), "publishing reports")

    def _take(self) -> list[Report]:
        taken: list[Report] = []
        size = 0
        while self._waiting and len(taken) < BATCH_ITEMS:
            report = self._waiting[0]
            size += len(report.body) + 150
            alone = report.kind not in IN_A_BATCH
            if taken and (alone or size > BATCH_BYTES):
                break
            taken.append(self._waiting.popleft())
            if alone:
                break
        return taken

    async def _publish(self, reports: list[Report]) -> None:
        try:
            while reports := _still_valid(reports):
                if await self._confirmed(reports):
                    break
                await asyncio.sleep(PAUSE)
            for report in reports:
                _settle(report, is_said=True)
        finally:
            self._room.release()

    async def _confirmed(self, reports: list[Report]) -> bool:
        failpoint(Point.BEFORE_REPORT)
        try:
            if len(reports) == 1:
                report = reports[0]
                headers = {} if report.started is None else {words.HEADER_STARTED: report.started}
                await self._requests.tell(
                    report.kind, report.token, report.body, timeout=30.0, headers=headers
                )
            else:
                await self._requests.tell("batch", "", _batch(reports), timeout=30.0)
        except Unavailable as error:
            log.debug("%d reports were not confirmed: %s", len(reports), error)
            return False
        failpoint(Point.AFTER_REPORT)
        return True


def _still_valid(reports: list[Report]) -> list[Report]:
    """Return those that are to be said; who waits for another one is told that it is not."""
    valid = []
    for report in reports:
        if report.is_void is not None and report.is_void():
            _settle(report, is_said=False)
        else:
            valid.append(report)
    return valid


def _settle(report: Report, *, is_said: bool) -> None:
    if not report.confirmed.done():
        report.confirmed.set_result(is_said)


def _batch(reports: list[Report]) -> bytes:
    return encode(
        [
            BatchItem(
                token=report.token,
                type=report.kind,  # type: ignore[arg-type]  # one of IN_A_BATCH
                started=report.started,
                body=Raw(report.body),
            )
            for report in reports
        ]
    )
