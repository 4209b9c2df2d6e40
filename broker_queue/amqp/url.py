"""One way of writing a broker's URL, for printing, copying and comparing."""

from __future__ import annotations

import re

DEFAULT_VIRTUAL_HOST = re.compile(r"^([^/]*//[^/?#]+)/(?:%2f)?(?=[?#]|$)", re.IGNORECASE)


def canonical_url(url: str) -> str:
    """Return the URL without the virtual host if that is ``/``: neither ``/`` nor ``/%2F``.

    Some libraries take ``amqp://host/`` for the virtual host without a name, as the AMQP URI
    specification does (Bunny, rabbitmq-c); all take ``amqp://host`` for ``/``.
    """
    return DEFAULT_VIRTUAL_HOST.sub(r"\1", url)
