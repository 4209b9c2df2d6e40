"""The worker in bash."""

from __future__ import annotations

from tests.languages.suite import WorkerSuite
from tests.languages.toolchains import shell_worker


class TestShell(WorkerSuite):
    rehearsal = "rehearsal.shell"
    real = ("text.lines", {"text": "one\n\n東京だ!\n"}, {"lines": 3, "longest": 4})

    def command(self) -> list[str]:
        return shell_worker()
