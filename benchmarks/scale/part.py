"""One part in a process of its own: ``python -m benchmarks.scale.part latency 0.01``.

Each answer is a line of JSON on stdout, as is each word about how far it is. If the process ends, or
is ended, its own further answers are missing, and nobody else's.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from typing import Any

from benchmarks.contenders.contender import Place
from benchmarks.machine import broker_version
from benchmarks.scale.parts import PARTS
from benchmarks.scale.scene import Scene
from broker_queue.local_broker.node import PrivateNode


def main(name: str, scale: str) -> None:
    """Measure one part, on a private broker unless the place names another."""
    place = Place.from_environment()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")

    def tell(kind: str, content: Any) -> None:
        answers.write(json.dumps({kind: content}) + "\n")
        answers.flush()

    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))
        if not place.broker:
            place = replace(place, broker=stack.enter_context(PrivateNode()).url)
        tell("broker", asyncio.run(broker_version(place.broker)))
        scene = Scene(place, float(scale), lambda text: tell("say", text))
        for row in PARTS[name].measure(scene):
            tell("row", row)


if __name__ == "__main__":
    main(*sys.argv[1:])
