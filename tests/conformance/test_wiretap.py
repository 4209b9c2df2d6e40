"""What is read off the bytes of a connection."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pamqp import commands, frame, header
from pamqp.body import ContentBody
from pamqp.heartbeat import Heartbeat

from broker_queue.amqp.wiretap import (
    Bound,
    Confirmed,
    ConfirmsAsked,
    Consumed,
    Declared,
    Delivered,
    Opened,
    Properties,
    Published,
    Refused,
    Returned,
    Settled,
    Wiretap,
)

GREETING = b"AMQP\x00\x00\x09\x01"


def frames(*methods: Any, channel: int = 1) -> bytes:
    return b"".join(frame.marshal(method, channel) for method in methods)


def content(method: Any, body: bytes = b"{}", *parts: bytes, **properties: Any) -> bytes:
    """Return a message; its body may come in several frames."""
    whole = body + b"".join(parts)
    found = header.ContentHeader(
        body_size=len(whole), properties=commands.Basic.Properties(**properties)
    )
    bodies = [ContentBody(part) for part in (body, *parts) if part]
    return frames(method, found, *bodies)


def delivery(tag: int, token: str = "t", consumer_tag: str = "c") -> bytes:
    method = commands.Basic.Deliver(consumer_tag, tag, False, "bq.jobs", "kind")
    return content(method, correlation_id=token)


def consuming(tap: Wiretap, *, no_ack: bool = False) -> Wiretap:
    tap.sent(frames(commands.Basic.Consume(queue="q", consumer_tag="c", no_ack=no_ack)))
    tap.received(frames(commands.Basic.ConsumeOk("c")))
    return tap


def settled(events: list[Any]) -> list[tuple[str | None, str]]:
    return [
        (event.message.properties.correlation_id, event.how)
        for event in events
        if isinstance(event, Settled)
    ]


SAID = (
    GREETING
    + frames(commands.Basic.Qos(prefetch_count=7))
    + frames(commands.Queue.Declare(queue="mine", exclusive=True))
    + frames(commands.Queue.Bind(queue="mine", exchange="bq.control", routing_key="kind"))
    + frames(commands.Basic.Consume(queue="bq.jobs.kind", consumer_tag="c"))
    + frames(commands.Confirm.Select())
    + frame.marshal(Heartbeat(), 0)
    + content(
        commands.Basic.Publish(exchange="", routing_key="bq.reports"),
        b'{"a": ',
        b"1}",
        correlation_id="t",
        message_type="finished",
        delivery_mode=2,
    )
)
MEANT = [
    Declared("mine", passive=False),
    Bound("mine", "bq.control", "kind"),
    Consumed(1, "bq.jobs.kind", no_ack=False, prefetch=7),
    ConfirmsAsked(1),
    Published(
        1,
        "",
        "bq.reports",
        Properties(type="finished", correlation_id="t", delivery_mode=2),
        b'{"a": 1}',
    ),
]


def test_what_is_said_in_one_piece() -> None:
    assert Wiretap().sent(SAID) == MEANT


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 50])
def test_what_is_said_in_pieces(size: int) -> None:
    tap = Wiretap()
    pieces = [SAID[start : start + size] for start in range(0, len(SAID), size)]
    assert [event for piece in pieces for event in tap.sent(piece)] == MEANT


def test_what_is_cut_anywhere() -> None:
    for cut in range(len(SAID)):
        tap = Wiretap()
        assert tap.sent(SAID[:cut]) + tap.sent(SAID[cut:]) == MEANT


def test_an_empty_message_has_no_body_frame() -> None:
    (found,) = Wiretap().sent(content(commands.Basic.Publish(routing_key="q"), b""))
    assert isinstance(found, Published)
    assert found.body == b""


def test_what_the_broker_says() -> None:
    tap = Wiretap()
    assert tap.received(frames(commands.Connection.OpenOk(), channel=0)) == [Opened()]
    assert tap.received(frames(commands.Basic.Ack(3))) == [Confirmed(1)]
    returned = content(commands.Basic.Return(312, "NO_ROUTE", "", "nowhere"), correlation_id="t")
    (found,) = tap.received(returned)
    assert isinstance(found, Returned)
    assert (found.exchange, found.routing_key) == ("", "nowhere")
    (found,) = consuming(tap).received(delivery(1))
    assert isinstance(found, Delivered)
    assert (found.exchange, found.redelivered, found.body) == ("bq.jobs", False, b"{}")


@pytest.mark.parametrize(
    ("close", "scope", "channel"),
    [(commands.Channel.Close, "channel", 1), (commands.Connection.Close, "connection", 0)],
)
def test_the_broker_refuses_something(close: Any, scope: str, channel: int) -> None:
    said = frames(close(404, "NOT_FOUND - no queue", 50, 10), channel=channel)
    assert Wiretap().received(said) == [Refused(channel, scope, 404, "NOT_FOUND - no queue")]


def test_a_queue_that_the_broker_names_is_meant_by_an_empty_name() -> None:
    tap = Wiretap()
    tap.sent(frames(commands.Queue.Declare(queue="", exclusive=True)))
    tap.received(frames(commands.Queue.DeclareOk("amq.gen-1", 0, 0)))
    said = frames(
        commands.Queue.Bind(queue="", exchange="bq.control", routing_key="kind"),
        commands.Basic.Consume(queue=""),
    )
    assert tap.sent(said) == [
        Bound("amq.gen-1", "bq.control", "kind"),
        Consumed(1, "amq.gen-1", no_ack=False, prefetch=0),
    ]


def test_consumers_whose_tags_the_broker_names_are_told_apart() -> None:
    tap = Wiretap()
    tap.sent(frames(commands.Basic.Consume(queue="a", no_ack=True)))
    tap.sent(frames(commands.Basic.Consume(queue="b")))
    tap.received(frames(commands.Basic.ConsumeOk("first"), commands.Basic.ConsumeOk("second")))
    tap.received(delivery(1, "one", "first") + delivery(2, "two", "second"))
    assert settled(tap.sent(frames(commands.Basic.Ack(0, multiple=True)))) == [("two", "ack")]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (commands.Basic.Ack(2), [("2", "ack")]),
        (commands.Basic.Ack(2, multiple=True), [("1", "ack"), ("2", "ack")]),
        (commands.Basic.Ack(0, multiple=True), [("1", "ack"), ("2", "ack"), ("3", "ack")]),
        (commands.Basic.Nack(1, multiple=False, requeue=True), [("1", "requeue")]),
        (commands.Basic.Nack(2, multiple=True, requeue=False), [("1", "reject"), ("2", "reject")]),
        (commands.Basic.Reject(3, requeue=True), [("3", "requeue")]),
        (commands.Basic.Reject(3, requeue=False), [("3", "reject")]),
        (commands.Basic.Ack(9), []),
    ],
)
def test_messages_are_settled(method: Any, expected: list[tuple[str, str]]) -> None:
    tap = consuming(Wiretap())
    tap.received(b"".join(delivery(number, str(number)) for number in (1, 2, 3)))
    assert settled(tap.sent(frames(method))) == expected
    assert settled(tap.sent(frames(method))) == []


def test_what_is_consumed_without_acknowledgement_is_never_settled() -> None:
    tap = consuming(Wiretap(), no_ack=True)
    tap.received(delivery(1))
    assert tap.sent(frames(commands.Basic.Ack(1))) == []


def test_what_a_closed_channel_held_is_not_settled_by_the_next() -> None:
    tap = consuming(Wiretap())
    tap.received(delivery(1))
    tap.received(frames(commands.Channel.Close(406, "PRECONDITION_FAILED", 0, 0)))
    tap.sent(frames(commands.Channel.CloseOk(), commands.Channel.Open()))
    assert tap.sent(frames(commands.Basic.Ack(1))) == []


def test_channels_are_kept_apart() -> None:
    tap = consuming(Wiretap())
    tap.received(delivery(1))
    assert tap.sent(frames(commands.Basic.Ack(1), channel=2)) == []
    assert settled(tap.sent(frames(commands.Basic.Ack(1)))) == [("t", "ack")]


@pytest.mark.parametrize("no_ack", [False, True])
def test_a_message_that_is_fetched(no_ack: bool) -> None:
    tap = Wiretap()
    asked = frames(commands.Basic.Get(queue="q", no_ack=no_ack))
    assert tap.sent(asked) == [Consumed(1, "q", no_ack=no_ack, prefetch=1, once=True)]
    tap.received(frames(commands.Basic.GetEmpty()))
    tap.sent(asked)
    got = content(commands.Basic.GetOk(1, False, "bq.jobs", "kind", 0), correlation_id="t")
    assert isinstance(tap.received(got)[0], Delivered)
    expected = [] if no_ack else [("t", "ack")]
    assert settled(tap.sent(frames(commands.Basic.Ack(1)))) == expected


def test_frames_that_nobody_knows_are_left_out() -> None:
    unknown = b"\x09\x00\x01\x00\x00\x00\x02??\xce"
    method = b"\x01\x00\x01\x00\x00\x00\x04\x00\xff\x00\xff\xce"
    assert Wiretap().sent(unknown + method + SAID) == MEANT


def test_anything_at_all_is_borne() -> None:
    chance = random.Random(7)
    for _ in range(2_000):
        broken = bytearray(SAID + delivery(1))
        for _ in range(chance.randrange(1, 6)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        tap = Wiretap()
        tap.sent(bytes(broken))
        tap.received(bytes(broken))


def test_a_message_whose_header_cannot_be_read_does_not_hide_the_next() -> None:
    broken = frames(commands.Basic.Publish(routing_key="q")) + b"\x02\x00\x01\x00\x00\x00\x01?\xce"
    assert Wiretap().sent(broken + SAID[len(GREETING) :]) == MEANT
