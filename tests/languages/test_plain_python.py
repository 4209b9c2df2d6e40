"""The worker in Python that uses pika and nothing of ours."""

from __future__ import annotations

from tests.languages.suite import WorkerSuite
from tests.languages.toolchains import plain_python_worker

REPORT = """\
# Fox

- 44 characters in 45 bytes
- 1 lines, the longest of 44 characters
- 9 words, most often: the (2), brown (1)
- 1 sentences, the longest:

> The quick brown fox.

SHA-256: `abc`
"""


class TestPlainPython(WorkerSuite):
    rehearsal = "rehearsal.python"
    real = (
        "text.report",
        {
            "title": "Fox",
            "fingerprint": {"sha256": "abc", "bytes": 45, "characters": 44},
            "words": {"words": 9, "top": [["the", 2], ["brown", 1]]},
            "lines": {"lines": 1, "longest": 44},
            "sentences": {"sentences": 1, "longest": "The quick brown fox."},
        },
        {"report": REPORT},
    )

    def command(self) -> list[str]:
        return plain_python_worker()
