"""Whether the memory of a process stays what it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ALLOWED_GROWTH = 3.0
"""MiB between the second quarter of a soak and its last: allocators waver by that."""


def resident(pid: int) -> float:
    """Return the memory of a process, in MiB (proc(5), VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass(slots=True)
class Memory:
    """What one process had, at equal intervals, in MiB."""

    samples: list[float] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """From the second quarter to the last; in the first one, caches fill."""
        if not self.samples:
            return 0.0
        quarter = max(1, len(self.samples) // 4)
        return median(self.samples[-quarter:]) - median(self.samples[quarter : 2 * quarter])

    @property
    def is_flat(self) -> bool:
        return self.growth <= ALLOWED_GROWTH
