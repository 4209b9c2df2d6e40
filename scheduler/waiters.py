"""Clients that wait for jobs to end; bounded, whatever they ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from broker_queue.job import State
from broker_queue.protocol.messages import Waited
from scheduler.rules.submission import id_text

MAX_WAITED_FOR = 1_000_000
"""Jobs that all clients wait for together, each counted for each who waits: some 200 MiB."""

MAX_LISTED = 10_000
"""Jobs that an answer names; what goes beyond is asked again."""


class Waiter:
    """One wait request: done when all of its jobs have ended, or any of them."""

    def __init__(self, ids: Sequence[bytes], *, any_of: bool) -> None:
        self.ids = ids
        self.open = dict.fromkeys(ids)
        self._enough = len(self.open) - 1 if any_of else 0
        self.done = asyncio.Event()

    def ended(self, identity: bytes) -> None:
        """Note that a job has ended."""
        self.open.pop(identity, None)
        if len(self.open) <= self._enough:
            self.done.set()

    def answer(self) -> Waited:
        """Return what is known now."""
        listed = [id_text(identity) for identity in list(self.open)[:MAX_LISTED]]
        return Waited(ended=len(set(self.ids)) - len(self.open), open=listed)


class Waiters:
    """Finds the waiters of a job that ended."""

    def __init__(self) -> None:
        self._by_job: dict[bytes, list[Waiter]] = {}
        self._count = 0

    @property
    def is_full(self) -> bool:
        return self._count >= MAX_WAITED_FOR

    def add(self, waiter: Waiter) -> None:
        """Begin to notify; add it before reading the states, so that no end falls in between."""
        self._count += len(waiter.ids)
        for identity in waiter.open:
            self._by_job.setdefault(identity, []).append(waiter)

    def remove(self, waiter: Waiter) -> None:
        """Notify it no more."""
        self._count -= len(waiter.ids)
        for identity in set(waiter.ids):
            listed = self._by_job.get(identity)
            if listed is not None and waiter in listed:
                listed.remove(waiter)
                if not listed:
                    del self._by_job[identity]

    def ended(self, jobs: Iterable[tuple[bytes, State]]) -> None:
        """Notify whoever waits for one of these jobs."""
        if not self._by_job:
            return
        for identity, state in jobs:
            if state.is_final:
                for waiter in self._by_job.get(identity, ()):
                    waiter.ended(identity)
