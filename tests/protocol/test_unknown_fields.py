"""What may have fields that nobody knows: all that the scheduler says, and nothing that it reads."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker_queue.errors import Invalid
from broker_queue.protocol import messages, reports
from broker_queue.protocol.codec import decode
from broker_queue.protocol.operations import REQUESTS
from tests.support.schemas import with_parts

READ_BY_THE_SCHEDULER = [
    *(operation.request for operation in REQUESTS.values()),
    *(model for model in reports.REPORTS.values() if model is not msgspec.Raw),
]
READ_BY_OTHERS = [
    *(operation.answer for operation in REQUESTS.values()),
    messages.Error,
    messages.JobEvent,
    messages.CancelControl,
    reports.ReportAnswer,
]


def is_strict(model: type[Any]) -> bool:
    return bool(model.__struct_config__.forbid_unknown_fields)


def test_what_the_scheduler_reads_has_no_unknown_fields() -> None:
    assert [model for model in with_parts(READ_BY_THE_SCHEDULER) if not is_strict(model)] == []


def test_what_others_read_may_have_unknown_fields() -> None:
    assert [model for model in with_parts(READ_BY_OTHERS) if is_strict(model)] == []


@pytest.mark.parametrize("kind", ["failed", "started", "progress", "released", "lease"])
def test_a_report_with_an_unknown_field_is_refused_by_its_name(kind: str) -> None:
    with pytest.raises(Invalid, match="unknown field colour"):
        decode(b'{"colour": 1}', reports.REPORTS[kind])
