"""A worker whose jobs are a program's."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence

from broker_queue.address import Address
from broker_queue.amqp.ending import end
from broker_queue.errors import BrokerQueueError
from broker_queue.event_loop import loop_factory
from broker_queue.programs.launcher import Launcher
from broker_queue.programs.program import Program
from broker_queue.running import Job
from broker_queue.worker import Worker


def serve(
    worker: Worker,
    job_type: str,
    command: Sequence[str],
    address: Address,
    *,
    as_text: bool,
    max_result: int,
    echo: Callable[[Job, str], None],
) -> None:
    """Run a worker whose jobs of a type are run by `command`, as `Worker.run_forever` does.

    See `Program` for the other arguments.

    Raises:
        BrokerQueueError: the process that starts the programs has died.
    """

    async def run() -> None:
        async with Launcher(command) as launcher:
            program = Program(launcher, address, as_text=as_text, max_result=max_result, echo=echo)
            worker.register(job_type, program.run)
            await _until_signal(worker, launcher)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run())


async def _until_signal(worker: Worker, launcher: Launcher) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    working = asyncio.create_task(worker.run(), name="worker")
    losing = asyncio.create_task(launcher.lost.wait(), name="loss of the launcher")
    try:
        await asyncio.wait([working, losing], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        else:
            raise BrokerQueueError(
                "the process that starts the programs has died, and they with it; their jobs are "
                "handed out again"
            )
    finally:
        await end(working)
        await end(losing)
