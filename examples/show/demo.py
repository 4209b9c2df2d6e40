"""A demo from its title to its exit code: it ends what it started, also after Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.text import Text

from broker_queue import BrokerQueueError
from examples.show.screen import Screen

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130


class NoReport(BrokerQueueError):
    """The graph did not come to its end as it should; the text says what happened."""


def present(title: str, show: Callable[[Screen], None]) -> int:
    """Run a demo and return its exit code; a failure that has a text is one line.

    Args:
        title: its first line.
        show: does all the rest.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False)
    console.print(f"\n[bold]{title}[/bold]\n")
    try:
        show(Screen(console))
    except KeyboardInterrupt:
        console.print("Interrupted; nothing is left running.")
        return INTERRUPTED
    except BrokerQueueError as error:
        console.print(Text.assemble(("The demo failed: ", "bold red"), str(error)), soft_wrap=True)
        return 1
    return 0


@contextmanager
def stopped_in_the_end(shown: Screen) -> Iterator[ExitStack]:
    """Give what stops, at the end of the block and whatever happens, all that was put into it."""
    started = ExitStack()
    try:
        yield started
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        with shown.step("stop", "stopping what was started") as step:
            started.close()
            step.outcome = "everything that was started"
