"""The scheduler's refusals in the words of who typed the command: no positions in a request."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from broker_queue.errors import BrokerQueueError, NotExist, RequestError
from broker_queue.job import GraphId

if TYPE_CHECKING:
    from broker_queue.client import JobQueue

USE_GRAPH = "give it alone, or as --graph"

E = TypeVar("E", bound=BrokerQueueError)

_POSITION = re.compile(r"^jobs\[(?P<number>\d+)\](?P<rest>\.?)")


def without_position(error: E) -> E:
    """Return an error about the only job, or about one that the text names by its id anyhow."""
    return _reworded(error, _POSITION.sub("", str(error)).removeprefix(": "))


@contextmanager
def jobs_by_name(names: Sequence[str | None]) -> Iterator[None]:
    """Let refusals within the block name jobs as their file does, in place of positions.

    Raises:
        RequestError: with that text.
    """
    try:
        yield
    except RequestError as error:
        found = _POSITION.match(str(error))
        number = int(found["number"]) if found else len(names)
        if found is None or number >= len(names):
            raise
        rest = str(error)[found.end() :]
        raise _reworded(error, f"jobs.{names[number]}{found['rest']}{rest}") from None


@asynccontextmanager
async def no_graphs(queue: JobQueue, advice: str) -> AsyncIterator[None]:
    """Say of a job's id that is not there if it is a graph's, and what to do: `advice`.

    Raises:
        NotExist: with that text.
    """
    try:
        yield
    except NotExist as error:
        for identifier in error.details.get("jobs", ())[:1]:
            if await _is_graph(queue, identifier):
                text = f"{identifier} is a graph's id: {advice}"
                raise NotExist(text, error.details) from None
        raise


async def _is_graph(queue: JobQueue, identifier: str) -> bool:
    try:
        await queue.graph(GraphId(identifier))
    except RequestError:
        return False
    return True


def _reworded(error: E, text: str) -> E:
    if not isinstance(error, RequestError) or text == str(error):
        return error
    return type(error)(text, error.details)
