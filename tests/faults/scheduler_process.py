"""A scheduler for the crash tests: ``python -m tests.faults.scheduler_process [MUTATION]``."""

from __future__ import annotations

import sys
from functools import partial
from unittest.mock import patch

from scheduler import __main__, loop
from scheduler.rules.submission import Limits
from tests.faults import lifeline
from tests.faults.mutations import MUTATIONS

MAX_EDGES_TOLD = 20
"""In one transaction: few, so that a kill finds ends of which not all dependents were told."""


def main(mutations: list[str]) -> int:
    """Run the scheduler, with deliberate bugs if any are named, and return its exit code."""
    lifeline.hold()
    patch.object(loop, "Limits", partial(Limits, max_edges_told=MAX_EDGES_TOLD)).start()
    for name in mutations:
        MUTATIONS[name]()
    return __main__.main([])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
