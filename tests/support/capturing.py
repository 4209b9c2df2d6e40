"""Messages as they pass between programs and the broker, read off the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from aiormq import spec
from pamqp import body, frame, header
from pamqp.constants import FRAME_HEARTBEAT

from tests.support.frames import Frames
from tests.support.proxy import Tap


class Captured(NamedTuple):
    """A message, as it was published or delivered."""

    exchange: str
    routing_key: str
    properties: dict[str, Any]
    headers: dict[str, Any]
    body: bytes


class Capture:
    """Keeps what all programs publish, and what is delivered from some exchanges.

    Args:
        delivered_from: exchanges into which the broker itself publishes.
    """

    def __init__(self, *delivered_from: str) -> None:
        self.messages: list[Captured] = []
        self._delivered_from = delivered_from

    def connection(self) -> tuple[Tap, Tap]:
        """Return what is to be called with the bytes of a new connection, by direction."""
        sent = _Direction(self, Frames(from_client=True))
        received = _Direction(self, Frames(from_client=False))
        return sent, received

    def add(self, begun: spec.Basic.Publish | spec.Basic.Deliver, message: Captured) -> None:
        """Keep a message, unless it is a copy of what was seen when it was published."""
        if isinstance(begun, spec.Basic.Publish) or message.exchange in self._delivered_from:
            self.messages.append(message)


class _Direction:
    """Puts together the messages in one direction of a connection."""

    def __init__(self, capture: Capture, frames: Frames) -> None:
        self._capture = capture
        self._frames = frames
        self._begun: dict[int, tuple[Any, Any, bytes]] = {}
        """By channel: method, header and body of the message that is under way."""

    def __call__(self, data: bytes) -> None:
        for text in self._frames.take(data):
            if text[0] != FRAME_HEARTBEAT:
                _, channel, part = frame.unmarshal(text)
                self._read(channel, part)

    def _read(self, channel: int, part: Any) -> None:
        if isinstance(part, spec.Basic.Publish | spec.Basic.Deliver):
            self._begun[channel] = part, None, b""
            return
        if channel not in self._begun:
            return
        method, head, text = self._begun[channel]
        if isinstance(part, header.ContentHeader):
            head = part
        elif isinstance(part, body.ContentBody):
            text += part.value
        self._begun[channel] = method, head, text
        if head is not None and len(text) >= head.body_size:
            del self._begun[channel]
            self._capture.add(method, _message(method, head, text))


def _message(method: Any, head: Any, text: bytes) -> Captured:
    given = {
        "type" if name == "message_type" else name: _plain(value)
        for name, value in dict(head.properties).items()
        if value is not None and value != ""
    }
    headers = given.pop("headers", {})
    return Captured(method.exchange or "", method.routing_key or "", given, headers, text)


def _plain(value: Any) -> Any:
    """Return a property as the number or text that AMQP has for it."""
    return int(value.timestamp()) if isinstance(value, datetime) else value
