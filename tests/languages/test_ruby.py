"""The worker in Ruby."""

from __future__ import annotations

from tests.languages.suite import WorkerSuite
from tests.languages.toolchains import ruby_worker


class TestRuby(WorkerSuite):
    rehearsal = "rehearsal.ruby"
    real = (
        "text.sentences",
        {"text": "Ein Satz. Noch einer?! 東京は大きい。はい。"},
        {"sentences": 4, "longest": "Noch einer?!"},
    )

    def command(self) -> list[str]:
        return ruby_worker()
