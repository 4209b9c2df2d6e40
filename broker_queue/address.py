"""Where a program finds its scheduler: the broker's URL and the namespace.

Each is what the program was given, else the environment's, else the default.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from broker_queue.amqp.url import canonical_url
from broker_queue.errors import ConfigurationError
from broker_queue.protocol.names import Names

URL_VARIABLE = "BROKER_QUEUE_URL"
NAMESPACE_VARIABLE = "BROKER_QUEUE_NAMESPACE"

DEFAULT_URL = "amqp://guest:guest@localhost:5672"
"""A RabbitMQ as it is installed, on this machine."""

DEFAULT_NAMESPACE = "bq"


class Address(NamedTuple):
    """A broker's URL, with its password, and the names of one namespace on it."""

    url: str
    names: Names


def resolve(url: str | None, namespace: str | None) -> Address:
    """Return where the scheduler is.

    Raises:
        ConfigurationError: the URL or the namespace cannot work.
    """
    from broker_queue.amqp.connection import parse_url  # slow, and --help needs none of it

    names = names_of(find_namespace(namespace))
    found = find_url(url)
    parse_url(found)
    return Address(found, names)


def find_url(given: str | None) -> str:
    """Return the broker's URL in its canonical form, unchecked."""
    return canonical_url(given or os.environ.get(URL_VARIABLE) or DEFAULT_URL)


def find_namespace(given: str | None) -> str:
    """Return the namespace, unchecked."""
    return given or os.environ.get(NAMESPACE_VARIABLE) or DEFAULT_NAMESPACE


def names_of(namespace: str) -> Names:
    """Return the queues of a namespace.

    Raises:
        ConfigurationError: it is no name for a namespace.
    """
    try:
        return Names(namespace)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
