"""Named places in the code at which the crash tests end the process.

``BROKER_QUEUE_FAILPOINT=after_commit:3`` kills a process (SIGKILL, to itself) the third time that it
comes to ``after_commit``. The variable is read once, when the process starts. Without it a point is
a call of a function that does nothing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from enum import StrEnum

VARIABLE = "BROKER_QUEUE_FAILPOINT"


class Point(StrEnum):
    """Where a process may be killed. Each member says what makes up for it."""

    AFTER_LEADERSHIP = "after_leadership"
    """scheduler: it leads, and has not yet read the outbox. The next one leads, since this one is
    gone, and reads the outbox."""

    BEFORE_COMMIT = "before_commit"
    """scheduler: a batch is applied, not committed. Its messages were not acknowledged and come
    again."""

    AFTER_COMMIT = "after_commit"
    """scheduler: committed, and nobody knows. The messages come again and change nothing; what was
    handed out stands in the outbox."""

    BEFORE_PUBLISH = "before_publish"
    """scheduler: a job is about to be published, others of its batch are on their way. All stand in
    the outbox and are published again; a second copy has the same token."""

    AFTER_CONFIRM = "after_confirm"
    """scheduler: the broker has confirmed a job, and this is not noted yet. It is published again,
    with the same token."""

    BEFORE_REVOKE = "before_revoke"
    """scheduler: a cancel is committed, workers were not told. The request comes again, and they
    are told then."""

    AFTER_REVOKE = "after_revoke"
    """scheduler: workers were told of a cancel, who asked for it was not. The request comes
    again."""

    BEFORE_ANSWER = "before_answer"
    """scheduler: a request is committed, not answered. It comes again and is answered then."""

    AFTER_ANSWER = "after_answer"
    """scheduler: a request is answered, not acknowledged. It comes again; nobody waits for the
    second answer."""

    BEFORE_ACK = "before_ack"
    """scheduler: all of a batch is done except for acknowledging it. It comes again and changes
    nothing."""

    AFTER_ACK = "after_ack"
    """scheduler: the messages of one queue are acknowledged, those of another perhaps not. They
    come again."""

    BEFORE_RUN = "before_run"
    """worker: it has a job and has not begun. The broker gives the job to another."""

    BEFORE_LEASE_ACK = "before_lease_ack"
    """worker: a lease is granted, the job's message not acknowledged. The broker gives the job to
    another, which runs it again."""

    BEFORE_REPORT = "before_report"
    """worker: a job was run, nobody knows. The broker gives it to another, which runs it again."""

    AFTER_REPORT = "after_report"
    """worker: the broker has the report, the job is not acknowledged. It is run again; the second
    report is stale."""

    AFTER_JOB_ACK = "after_job_ack"
    """worker: a job is acknowledged, because it has ended or is held by lease. The lease lapses, and
    the others that it held go to another worker."""


def _pass(_point: Point) -> None:
    """Do nothing."""


def _armed(text: str) -> Callable[[Point], None]:
    """Return the function that kills at the point and the time that `text` names.

    Raises:
        ValueError: it names none.
    """
    name, _, number = text.partition(":")
    deadly, left = Point(name), int(number or 1)

    def hit(point: Point) -> None:
        nonlocal left
        if point is deadly:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hit


failpoint: Callable[[Point], None] = (
    _armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _pass
)
