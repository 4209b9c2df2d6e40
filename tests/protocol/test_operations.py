"""One table says what can be asked, and what of it writes; the scheduler answers exactly that."""

from __future__ import annotations

from broker_queue.protocol.bare import BARE
from broker_queue.protocol.operations import REQUESTS
from broker_queue.protocol.reports import REPORTS
from broker_queue.reporting import IN_A_BATCH
from scheduler import work


def test_the_scheduler_writes_for_the_operations_that_write_and_for_bare_jobs() -> None:
    writing = {name for name, found in REQUESTS.items() if found.writes}
    assert set(work.OPERATIONS) == {BARE} | writing


def test_what_goes_into_a_batch_is_a_report() -> None:
    assert set(REPORTS) > IN_A_BATCH
    assert "batch" not in IN_A_BATCH
