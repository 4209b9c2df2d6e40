"""The scheduler of a soak: ``python -m tests.soak.scheduler_process``."""

from __future__ import annotations

import sys

from scheduler import __main__
from tests.faults import lifeline

if __name__ == "__main__":
    lifeline.hold()
    sys.exit(__main__.main([]))
