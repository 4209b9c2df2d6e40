"""Messages as they passed, beside what the AsyncAPI document says of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from broker_queue.protocol.names import Names
from tests.support.asyncapi.document import document
from tests.support.asyncapi.messages import message_id
from tests.support.capturing import Captured
from tests.support.schemas import BARE_REQUEST
from tests.support.validating import Schemas


class Exchange(NamedTuple):
    """An operation of the document, and one message of it or of its reply."""

    operation: str
    message: str


class Description:
    """Finds the operation and message of what passed, in the document of one namespace.

    Attributes:
        exchanges: every pair of operation and message in the document.
    """

    def __init__(self, names: Names) -> None:
        self._document = document(names)
        self._schemas = Schemas(self._document)
        self._names = names
        self._asked: dict[str, str] = {}
        """By correlation id: the operation that was asked for last."""
        self._handed_out: dict[str, str] = {}
        """By token: the operation that handed out the job."""
        self.exchanges = {
            Exchange(name, each["$ref"].rpartition("/")[2])
            for name, operation in self._document["operations"].items()
            for each in operation["messages"] + operation.get("reply", {}).get("messages", [])
        }

    def find(self, message: Captured) -> Exchange | None:
        """Return which message of which operation this is; None if the document has no such.

        An answer is found by what was sent with its correlation id, so give them in their order.
        """
        key = message.properties.get("correlation_id", "")
        if message.exchange == "" and message.routing_key.startswith("amq."):
            return self._answer(self._asked.get(key), message)
        if message.exchange == "" and message.routing_key == self._names.reports:
            return self._answer(self._handed_out.get(key), message)
        found = [
            Exchange(name, each)
            for name, operation in self._document["operations"].items()
            if self._passes(message, _key(operation["channel"]))
            for each in _keys(operation["messages"])
            if self._is_of_type(message, each)
        ]
        if not found:
            return None
        (only,) = found
        if only.message == "job":
            self._handed_out[key] = only.operation
        elif "reply_to" in message.properties:
            self._asked[key] = only.operation
        return only

    def problems(self, message: Captured, exchange: Exchange) -> Iterator[str]:
        """Yield what is wrong with a message, by what the document says of it."""
        described = self._document["components"]["messages"][exchange.message]
        by_part = {
            "headers": (message.headers, described["headers"]),
            "properties": (message.properties, described["bindings"]["amqp"]["x-properties"]),
        }
        try:
            by_part["payload"] = (_parsed(message.body, exchange.message), described["payload"])
        except ValueError as error:
            yield f"payload: {error}"
        for part, (value, schema) in by_part.items():
            problem = self._schemas.problem_by(value, schema)
            if problem is not None:
                yield f"{part}: {problem}"
        if message.properties.get("content_type") != described["contentType"]:
            yield f"content type: {message.properties.get('content_type')}"
        yield from self._misplaced(message, exchange)

    def _misplaced(self, message: Captured, exchange: Exchange) -> Iterator[str]:
        """Yield parameters of the address that are not what the message has at their location."""
        operation = self._document["operations"][exchange.operation]
        channel = self._document["channels"][_key(operation["channel"])]
        found = _match(channel["address"], message.routing_key)
        for name, value in (found.groupdict() if found else {}).items():
            location = channel["parameters"][name].get("location", "")
            place, _, field = location.removeprefix("$message.").partition("#/")
            if place == "header" and message.headers.get(field) != value:
                yield f"header {field} is not {value}"
            if place == "payload" and json.loads(message.body).get(field) != value:
                yield f"{field} is not {value}"

    def _answer(self, operation: str | None, message: Captured) -> Exchange | None:
        if operation is None:
            return None
        reply = self._document["operations"][operation].get("reply", {"messages": []})
        found = [each for each in _keys(reply["messages"]) if self._is_of_type(message, each)]
        return Exchange(operation, found[0]) if len(found) == 1 else None

    def _passes(self, message: Captured, channel: str) -> bool:
        described = self._document["channels"][channel]
        binding = described["bindings"]["amqp"]
        if binding["is"] == "routingKey":
            exchange = binding["exchange"]["name"]
        else:
            # dead letters come to their queue by an exchange of the same name, the rest by its name
            exchange = described["address"] if message.exchange == self._names.dead else ""
        key = described["address"] if exchange == self._names.dead else message.routing_key
        return message.exchange == exchange and _match(described["address"], key) is not None

    def _is_of_type(self, message: Captured, name: str) -> bool:
        described = self._document["components"]["messages"][name]
        wanted = described["bindings"]["amqp"].get("messageType")
        given = message.properties.get("type")
        if wanted == "finished":  # a report without a type is one
            given = given or "finished"
        if name == message_id(BARE_REQUEST):
            return given is None
        return wanted is None or wanted == given


def _match(address: str, key: str) -> re.Match[str] | None:
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^@]+)", re.escape(address))
    return re.fullmatch(pattern, key)


def _key(reference: dict[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]


def _keys(references: list[dict[str, str]]) -> list[str]:
    return [_key(each) for each in references]


def _parsed(body: bytes, message: str) -> Any:
    """Return a body as JSON; an empty one as the protocol reads it."""
    if not body:
        return None if message == "finishedReport" else {}
    return body.decode(errors="replace") if message == "parked" else json.loads(body)
