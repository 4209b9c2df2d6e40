"""What an operator does to a broker: rabbitmqctl, on a private node."""

from __future__ import annotations

import asyncio
import subprocess

from broker_queue.local_broker.node import PrivateNode


async def rabbitmqctl(node: PrivateNode, *arguments: str) -> str:
    """Run the command that came with the node's server, and return what it printed."""

    def run() -> str:
        done = subprocess.run(
            [str(node.server.with_name("rabbitmqctl")), *arguments],
            env=node.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    return await asyncio.to_thread(run)
