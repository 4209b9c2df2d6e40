"""Starts a scheduler: settings → logs → service; signals and exit codes.

Exit codes: 0 stopped on request, 1 an unexpected error, 2 settings or database that cannot be used.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsConfigDict

from broker_queue.errors import ConfigurationError
from broker_queue.event_loop import loop_factory
from scheduler import logs
from scheduler.service import Service
from scheduler.settings import Settings
from scheduler.store.database import DatabaseDown
from scheduler.store.leader import LostLeadership

log = logging.getLogger("scheduler")

GARBAGE = 10_000
"""Objects more than were freed since, after which the collector looks at the young ones."""


class Flags(Settings):
    """The process that owns the state of jobs and hands them to the broker.

    Every flag can be given as an environment variable BROKER_QUEUE_<NAME> instead.
    """

    model_config = SettingsConfigDict(
        cli_prog_name="broker-queue scheduler", cli_kebab_case=True, cli_hide_none_type=True
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scheduler until SIGTERM or SIGINT, and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        settings = CliApp.run(Flags, cli_args=given, cli_exit_on_error=True)
    except ValidationError as error:
        for problem in error.errors():
            name = "-".join(str(part) for part in problem["loc"]).replace("_", "-")
            print(f"setting --{name}: {problem['msg']} (got {problem['input']!r})", file=sys.stderr)  # noqa: T201  # logging is not set up yet
        return 2
    logs.configure(settings)
    _spare_the_collector()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_run(settings))
    except (ConfigurationError, DatabaseDown) as error:
        log.error("%s", error)  # the text is all an operator needs
        return 2
    except Exception:
        log.exception("ended by an unexpected error; nothing is lost, it can be started again")
        return 1
    return 0


def _spare_the_collector() -> None:
    """Have the garbage collector leave alone what the program itself consists of.

    Walking through it again and again was a third of the processor time of small batches.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


async def _run(settings: Settings) -> None:
    """Serve; a scheduler that lost its leadership goes on as standby."""
    stopping = False
    service: Service | None = None

    def stop() -> None:
        nonlocal stopping
        stopping = True
        if service is not None:
            service.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    while not stopping:
        service = Service(settings)
        try:
            await service.run()
        except LostLeadership as error:
            log.warning("%s; going on as standby", error)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
