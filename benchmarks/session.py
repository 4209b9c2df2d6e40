"""One contender in a process of its own: commands come in by lines, figures go out by lines.

``python -m benchmarks.session ours`` imports nothing of the others. A plan that takes too long or
kills the process costs its own figure only: who gave the command ends the session and starts
another.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib import import_module

from benchmarks.contenders.contender import Contender, Place
from benchmarks.contenders.ours import Ours
from benchmarks.measuring import measure, measure_latency
from benchmarks.roster import ROSTER
from benchmarks.workloads import WORKLOADS


def make(name: str, place: Place) -> Contender:
    """Return a contender; its module is imported only now."""
    entry = ROSTER[name]
    module = import_module(f"benchmarks.contenders.{entry.module}")
    factory: Callable[[Place], Contender] = getattr(module, entry.kind)
    return factory(place)


def main(name: str) -> None:
    """Start the contender, do what each line of stdin says, stop it at the end of stdin."""
    place = Place.from_environment()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")

    def answer(content: Mapping[str, object]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    with redirect_stdout(sys.stderr):  # what libraries print is no answer
        contender = make(name, place)
        contender.start()
        try:
            answer({"started": name})
            for line in sys.stdin:
                command = json.loads(line)
                if command["workload"] == "latency":
                    assert isinstance(contender, Ours)
                    answer(measure_latency(contender, command["size"]))
                else:
                    plan = WORKLOADS[command["workload"]].make(command["size"])
                    answer(measure(contender, plan, command["run"], command["others"]))
        finally:
            contender.stop()


if __name__ == "__main__":
    main(sys.argv[1])
