"""What has been seen of the worker, in order, and what can be asked of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, TypeGuard

import msgspec

from broker_queue.amqp.wiretap import (
    Bound,
    Consumed,
    Delivered,
    Event,
    Lost,
    Opened,
    Published,
    Refused,
    Settled,
)
from broker_queue.protocol.names import REPORTS_KEY, REQUESTS_KEY, Names
from broker_queue.protocol.reports import BatchItem

FINAL = frozenset({"finished", "finished_with_jobs", "failed"})
"""Reports that end an attempt."""


class Entry(NamedTuple):
    """One event."""

    at: float
    """Seconds of a monotonic clock."""
    connection: int
    event: Event


class Moment(NamedTuple):
    """When something was."""

    order: int
    """Place in the journal."""
    at: float


class Settlement(NamedTuple):
    """When and how a message was settled: ``ack``, ``requeue`` or ``reject``."""

    order: int
    at: float
    how: str
    with_later: bool
    """By a frame for a later message, with ``multiple`` set."""


class Report(NamedTuple):
    """What the worker says of one job."""

    order: int
    at: float
    token: str | None
    kind: str
    body: bytes
    message: Published

    @property
    def wants_answer(self) -> bool:
        return bool(self.message.properties.reply_to)


class Journal:
    """Events in the order in which they passed.

    Args:
        names: of the namespace.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self.entries: list[Entry] = []
        self.reports: list[Report] = []
        self.hellos: list[Report] = []
        """Requests ``hello``; their token is the request's correlation id."""
        self.losses = 0
        """Connections that are over."""
        self._holders: list[tuple[int, int, str]] = []
        """Connections, channels and tokens of the jobs' messages that are held unacknowledged."""
        self._consumers: dict[tuple[int, int, str], int] = {}
        """How many there are now, by connection, channel and queue; of what is only got, none."""

    def add(self, entry: Entry) -> None:
        """Take down what has passed."""
        order = len(self.entries)
        self.entries.append(entry)
        self._follow(entry)
        if isinstance(entry.event, Published):
            if goes_to(entry.event, self._names.reports, REPORTS_KEY):
                self.reports += reports_in(entry.event, order, entry.at)
            elif goes_to(entry.event, self._names.requests, REQUESTS_KEY):
                self.hellos += [
                    report
                    for report in reports_in(entry.event, order, entry.at)
                    if report.kind == "hello"
                ]

    def _follow(self, entry: Entry) -> None:
        """Keep up with what is consumed and held now."""
        match entry.event:
            case Consumed(channel=channel, queue=queue, once=once):
                place = (entry.connection, channel, queue)
                self._consumers[place] = self._consumers.get(place, 0) + (not once)
            case Delivered(channel=channel, properties=properties) if self._is_job(entry.event):
                token = properties.correlation_id or ""
                self._holders.append((entry.connection, channel, token))
            case Settled(message=message):
                token = message.properties.correlation_id or ""
                with suppress(ValueError):
                    self._holders.remove((entry.connection, message.channel, token))
            case Refused(scope="channel", channel=channel):
                self._let_go(lambda other, number: (other, number) == (entry.connection, channel))
            case Lost():
                self.losses += 1
                self._let_go(lambda other, _: other == entry.connection)

    def _let_go(self, is_over: Callable[[int, int], bool]) -> None:
        self._consumers = {
            place: count for place, count in self._consumers.items() if not is_over(*place[:2])
        }
        self._holders = [holder for holder in self._holders if not is_over(*holder[:2])]

    def is_consumed(self, queue: str) -> bool:
        """Return whether the worker consumes a queue now."""
        return any(each == queue for _, _, each in self._consumers)

    def consumer_count(self, queue: str) -> int:
        """Return how many consumers the worker has on a queue now, at most.

        One that it has canceled counts on.
        """
        return sum(count for (_, _, each), count in self._consumers.items() if each == queue)

    def is_held(self, token: str) -> bool:
        """Return whether the worker has a message of a job now, unacknowledged."""
        return any(each == token for _, _, each in self._holders)

    def consumers(self, queue: str) -> list[Consumed]:
        """Return the consumers that were started on a queue."""
        found = (entry.event for entry in self.entries)
        return [each for each in found if isinstance(each, Consumed) and each.queue == queue]

    def consumed(self) -> list[str]:
        """Return the queues that were consumed, each once."""
        found = (entry.event for entry in self.entries)
        return list(dict.fromkeys(each.queue for each in found if isinstance(each, Consumed)))

    def control_bindings(self) -> list[Bound]:
        """Return how queues were bound to the control exchange."""
        return [
            each
            for each in (entry.event for entry in self.entries)
            if isinstance(each, Bound) and each.exchange == self._names.control
        ]

    def first(self, condition: Callable[[Event], bool], after: int = 0) -> int | None:
        """Return the place of the first event of a kind since then."""
        entries = enumerate(self.entries[after:], after)
        places = (order for order, entry in entries if condition(entry.event))
        return next(places, None)

    def connections(self) -> int:
        """Return how often the broker let the worker in."""
        return sum(isinstance(entry.event, Opened) for entry in self.entries)

    def refusals(self, after: int = 0) -> list[Refused]:
        """Return the mistakes for which the broker closed a channel or connection since then."""
        found = (entry.event for entry in self.entries[after:])
        return [event for event in found if isinstance(event, Refused)]

    def deliveries(self, token: str) -> list[Moment]:
        """Return when the worker was given a job."""
        return [
            Moment(order, entry.at)
            for order, entry in enumerate(self.entries)
            if self._is_job(entry.event) and entry.event.properties.correlation_id == token
        ]

    def _is_job(self, event: Event) -> TypeGuard[Delivered]:
        """Whether this is a job's message; answers to what is reported on it have its token, too."""
        return isinstance(event, Delivered) and event.exchange == self._names.jobs

    def heard_control(self, after: int) -> bool:
        """Return whether the worker was given a control message after that many entries."""
        control = self._names.control
        return (
            self.first(lambda e: isinstance(e, Delivered) and e.exchange == control, after)
            is not None
        )

    def settlements(self, token: str) -> list[Settlement]:
        """Return how the worker settled a job's messages."""
        return [
            Settlement(order, entry.at, entry.event.how, entry.event.with_later)
            for order, entry in enumerate(self.entries)
            if isinstance(entry.event, Settled)
            and entry.event.message.properties.correlation_id == token
        ]

    def reports_on(self, token: str, *kinds: str) -> list[Report]:
        """Return what was reported on a job, of these kinds or of any."""
        return [
            report
            for report in self.reports
            if report.token == token and (not kinds or report.kind in kinds)
        ]

    def published_elsewhere(self, after: int) -> list[Published]:
        """Return messages that went neither to the reports nor to the requests."""
        return [
            entry.event
            for entry in self.entries[after:]
            if isinstance(entry.event, Published)
            and not goes_to(entry.event, self._names.reports, REPORTS_KEY)
            and not goes_to(entry.event, self._names.requests, REQUESTS_KEY)
        ]


def goes_to(message: Published, name: str, key: str) -> bool:
    """Whether a message reaches the queue `name`: through its exchange, or by its name."""
    return (message.exchange, message.routing_key) in {(name, key), ("", name)}


def reports_in(message: Published, order: int = 0, at: float = 0.0) -> Iterator[Report]:
    """Return what a message reports: itself, or the items of a ``batch``."""
    properties = message.properties
    kind = properties.type or "finished"
    if kind != "batch":
        yield Report(order, at, properties.correlation_id, kind, message.body, message)
        return
    try:
        items = msgspec.json.decode(message.body, type=list[BatchItem])
    except (msgspec.DecodeError, UnicodeDecodeError):
        yield Report(order, at, None, kind, message.body, message)
        return
    for item in items:
        body = b"" if isinstance(item.body, msgspec.UnsetType) else bytes(item.body)
        yield Report(order, at, item.token, item.type, body, message)
