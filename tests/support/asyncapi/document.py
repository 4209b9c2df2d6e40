"""The AsyncAPI 3.0 document of one namespace."""

from __future__ import annotations

from typing import Any

import yaml

from broker_queue.protocol.names import PROTOCOL_VERSION, Names
from tests.support import schemas
from tests.support.asyncapi.channels import channels
from tests.support.asyncapi.messages import HEADERS, IN_DOCUMENT, components
from tests.support.asyncapi.operations import operations

DESCRIPTION = """\
Jobs with dependencies over RabbitMQ: what passes between clients, the scheduler and workers.
`protocol.md` beside this file says what it means.

This document describes the scheduler as the application: it *receives* requests and reports, and
*sends* jobs, events and control messages. A client or worker does the opposite.

`bq` in the names of exchanges and queues stands for the namespace, a setting of all programs.
The scheduler declares all of them, except a worker's own queue; nobody else may.

AMQP properties are no headers. They are shown in the description of each message, and as a schema
in `x-properties` of its AMQP binding; `$message.header#/reply_to` and
`$message.header#/correlation_id` mean the properties of these names.

Who reads an answer, an event or a control message passes over fields that it does not know.
"""


def document(names: Names) -> dict[str, Any]:
    """Return the document of a namespace."""
    definitions = schemas.definitions(IN_DOCUMENT)
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:broker-queue:scheduler:{PROTOCOL_VERSION}",
        "info": {
            "title": "broker-queue",
            "version": f"{PROTOCOL_VERSION}",
            "description": DESCRIPTION,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": channels(names),
        "operations": operations(),
        "components": {
            "securitySchemes": {"user": {"type": "userPassword"}},
            "messages": components(names, definitions),
            "schemas": definitions | HEADERS,
        },
    }


def as_yaml(names: Names) -> str:
    """Return the document of a namespace as text."""
    head = "# Generated from the models of the code: make fix\n"
    text = yaml.dump(
        document(names), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return head + text


def _server() -> dict[str, Any]:
    return {
        "host": "{host}:{port}",
        "pathname": "/{vhost}",
        "protocol": "amqp",
        "protocolVersion": "0-9-1",
        "description": "RabbitMQ 3.10 to 4.x; its URL is BROKER_QUEUE_URL in all our programs.",
        "variables": {
            "host": {"default": "localhost", "description": "Where the broker listens."},
            "port": {"default": "5672", "description": "Its port; of `amqps`, 5671."},
            "vhost": {"default": "%2F", "description": "The virtual host; `%2F` is the usual `/`."},
        },
        "security": [{"$ref": "#/components/securitySchemes/user"}],
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and everything in full where it is used."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
