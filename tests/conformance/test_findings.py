"""From what was seen to a level: journal, likeness, rating, and how they are shown."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from broker_queue.amqp.wiretap import (
    Consumed,
    Delivered,
    Lost,
    Opened,
    Properties,
    Published,
    Refused,
    Settled,
)
from broker_queue.cli.output import JsonOutput, QuietOutput
from broker_queue.cli.rating_page import NAME_WIDTH, check_lines, rating_line
from broker_queue.conformance.journal import Entry, Journal, reports_in
from broker_queue.conformance.junit import junit
from broker_queue.conformance.rehearsal import ODD_ARGS, Likeness, Rehearsal, likeness
from broker_queue.conformance.rehearse import ALL, CHECKS
from broker_queue.conformance.verdict import LEVELS, Outcome, Rating, Result
from broker_queue.protocol.names import Names

NAMES = Names("bq")
PASSED, WARNING = Outcome.PASSED, Outcome.WARNING
FAILED, UNCHECKED = Outcome.FAILED, Outcome.UNCHECKED


def report(token: str | None = "t", kind: str | None = None, body: bytes = b"1") -> Published:
    return Published(1, "", "bq.reports", Properties(type=kind, correlation_id=token), body)


def given(token: str = "t", channel: int = 1) -> Delivered:
    return Delivered(channel, "bq.jobs", "kind", False, Properties(correlation_id=token), b"{}")


def journal(*events: Any, connection: int = 1) -> Journal:
    kept = Journal(NAMES)
    for number, event in enumerate(events):
        kept.add(Entry(float(number), connection, event))
    return kept


# The journal.


def test_a_report_without_a_type_is_finished() -> None:
    (found,) = journal(given(), report()).reports
    assert (found.token, found.kind, found.order, found.at) == ("t", "finished", 1, 1.0)


@pytest.mark.parametrize(
    ("exchange", "key", "counts"),
    [
        ("", "bq.reports", True),
        ("bq.reports", "reports", True),
        ("bq.reports", "other", False),
        ("", "reports", False),
        ("other", "bq.reports", False),
    ],
)
def test_where_reports_go(exchange: str, key: str, counts: bool) -> None:
    kept = journal(Published(1, exchange, key, Properties(correlation_id="t"), b""))
    assert bool(kept.reports) is counts
    assert bool(kept.published_elsewhere(0)) is not counts


def test_a_batch_is_its_items() -> None:
    body = b'[{"token": "a", "body": 1}, {"token": "b", "type": "started"}]'
    found = journal(report(None, "batch", body)).reports
    assert [(each.token, each.kind, each.body) for each in found] == [
        ("a", "finished", b"1"),
        ("b", "started", b""),
    ]


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff", b'[{"token": 1}]'])
def test_a_batch_that_cannot_be_read_is_one_report_on_no_job(body: bytes) -> None:
    (found,) = reports_in(report("t", "batch", body))
    assert (found.token, found.kind) == (None, "batch")


def test_only_hellos_are_kept_of_the_requests() -> None:
    kept = journal(
        Published(1, "bq.requests", "requests", Properties(type="hello", correlation_id="k"), b""),
        Published(1, "bq.requests", "requests", Properties(type="submit"), b""),
    )
    assert [each.token for each in kept.hellos] == ["k"]
    assert not kept.reports
    assert not kept.published_elsewhere(0)


@pytest.mark.parametrize(
    ("later", "holds", "consumes"),
    [
        ([], True, True),
        ([Settled(given(), "ack")], False, True),
        ([Refused(1, "channel", 406, "")], False, False),
        ([Refused(2, "channel", 406, "")], True, True),
        ([Lost()], False, False),
        ([Lost(), Opened(), Consumed(1, "bq.jobs.kind", False, 1)], False, True),
    ],
)
def test_what_a_worker_holds_and_consumes_now(
    later: list[Any], holds: bool, consumes: bool
) -> None:
    kept = journal(Consumed(1, "bq.jobs.kind", False, 1), given(), *later)
    assert kept.is_held("t") is holds
    assert kept.is_consumed("bq.jobs.kind") is consumes


def test_consumers_are_counted_on_each_channel_and_what_is_only_got_is_none() -> None:
    one, other = Consumed(1, "q", False, 1), Consumed(2, "q", False, 1)
    kept = journal(
        one, one, other, Consumed(3, "q", False, 1, once=True), Consumed(1, "p", False, 1)
    )
    assert kept.consumer_count("q") == 3
    kept.add(Entry(9.0, 1, Refused(1, "channel", 406, "")))
    assert kept.consumer_count("q") == 1
    assert (kept.is_consumed("p"), kept.is_consumed("q")) == (False, True)


def test_settlements_and_deliveries_are_those_of_a_job() -> None:
    kept = journal(given("a"), given("b"), Settled(given("a"), "requeue"), given("a"))
    assert [(each.order, each.how) for each in kept.settlements("a")] == [(2, "requeue")]
    assert [each.order for each in kept.deliveries("a")] == [0, 3]
    assert kept.settlements("b") == []


def test_the_answer_to_a_report_is_no_delivery_of_its_job() -> None:
    answer = Delivered(1, "", "amq.gen-1", False, Properties(correlation_id="t"), b"{}")
    kept = journal(given(), Settled(given(), "ack"), answer)
    assert [each.order for each in kept.deliveries("t")] == [0]
    assert not kept.is_held("t")


# Results.


@pytest.mark.parametrize("args", ODD_ARGS)
def test_args_are_like_themselves_however_they_are_written(args: bytes) -> None:
    assert likeness(args, args) is Likeness.SAME
    written = json.dumps(json.loads(args), indent=1, ensure_ascii=True).encode()
    assert likeness(args, written) is Likeness.SAME


@pytest.mark.parametrize(
    ("args", "result", "expected"),
    [
        (b"[9007199254740993]", b"[9007199254740992]", Likeness.ROUNDED),
        (b"[12345678901234567890]", b"[1.2345678901234567e19]", Likeness.ROUNDED),
        (b"[1e-7]", b"[0.0000001]", Likeness.SAME),
        (b"[1.0]", b"[1]", Likeness.SAME),
        (b"[true]", b"[1]", Likeness.OTHER),
        (b"[false]", b"[0]", Likeness.OTHER),
        (b"[null]", b"[false]", Likeness.OTHER),
        (b"[]", b"{}", Likeness.OTHER),
        (b'[""]', b"[null]", Likeness.OTHER),
        ('["ü"]'.encode(), '["Ã¼"]'.encode(), Likeness.OTHER),
        (b'{"a": 1}', b'"{\\"a\\": 1}"', Likeness.OTHER),
    ],
)
def test_results_are_compared_as_json(args: bytes, result: bytes, expected: Likeness) -> None:
    assert likeness(args, result) is expected


def test_what_is_no_json_is_like_nothing() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        likeness(b"{}", b"{'a': 1}")


def test_args_of_another_kind_leave_out_what_is_not_known() -> None:
    own, other = Rehearsal(), Rehearsal(normal=b'{"image": "a"}')
    assert own.normal_args(1) != own.normal_args(2)
    assert json.loads(own.slow_args(2.5) or b"") == {"seconds": 2.5}
    assert (own.gives_back_args, other.gives_back_args) == (True, False)
    assert other.normal_args(3) == b'{"image": "a"}'
    assert [other.failing_args(), other.slow_args(1.0), other.malformed_args()] == [None] * 3


# Levels.


def rating(*outcomes: tuple[int, Outcome], is_whole: bool = True) -> Rating:
    results = [
        Result(f"check_{number}", level, "does it", outcome, "seen", "change it")
        for number, (level, outcome) in enumerate(outcomes)
    ]
    return Rating("kind", results, is_whole)


@pytest.mark.parametrize(
    ("outcomes", "level"),
    [
        ([], 0),
        ([(1, FAILED), (2, PASSED), (3, PASSED)], 0),
        ([(1, PASSED), (1, FAILED)], 0),
        ([(1, PASSED), (2, FAILED), (3, PASSED)], 1),
        ([(1, PASSED), (2, UNCHECKED), (3, PASSED)], 1),
        ([(1, PASSED), (2, UNCHECKED), (2, PASSED), (3, UNCHECKED)], 2),
        ([(1, WARNING), (2, WARNING), (3, WARNING)], 3),
        ([(1, UNCHECKED), (2, UNCHECKED), (3, UNCHECKED)], 0),
    ],
)
def test_a_level_is_reached_when_nothing_has_failed_and_something_was_seen(
    outcomes: list[tuple[int, Outcome]], level: int
) -> None:
    found = rating(*outcomes)
    assert found.level == level
    assert [found.reaches(each) for each in LEVELS] == [each <= level for each in LEVELS]


def test_what_was_not_looked_at_is_named_for_the_level_that_is_reached() -> None:
    found = rating((1, PASSED), (1, UNCHECKED), (2, FAILED), (3, UNCHECKED))
    assert [result.check for result in found.unchecked] == ["check_1"]


@pytest.mark.parametrize(("outcome", "reaches"), [(PASSED, True), (WARNING, True), (FAILED, False)])
def test_some_checks_have_no_level(outcome: Outcome, reaches: bool) -> None:
    found = rating((1, PASSED), (3, outcome), is_whole=False)
    assert (found.level, found.reaches(3), found.unchecked) == (None, reaches, [])


# As people and programs see them.


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (rating((1, PASSED), (2, FAILED)), "Level 1 of 3: 1 passed, 1 failed"),
        (rating((1, FAILED)), "No level is reached: 1 failed"),
        (
            rating((1, PASSED), (1, UNCHECKED), (1, WARNING)),
            "Level 1 of 3: 1 passed, 1 passed with a warning, 1 not checked; "
            "this level needs, and nobody looked at: check_1",
        ),
        (
            rating((1, PASSED), (3, FAILED), is_whole=False),
            "Some checks only: 1 passed, 1 failed",
        ),
    ],
)
def test_the_last_line(found: Rating, line: str) -> None:
    assert rating_line(found).plain == line


@pytest.mark.parametrize(
    ("is_whole", "told", "level"), [(True, "1\n", 1), (False, "failed\n", None)]
)
def test_scripts_read_the_level(is_whole: bool, told: str, level: int | None) -> None:
    found, out = rating((1, PASSED), (2, FAILED), is_whole=is_whole), StringIO()
    QuietOutput(out=out).rated(found)
    assert out.getvalue() == told
    out = StringIO()
    JsonOutput(out=out).rated(found)
    assert json.loads(out.getvalue())["level"] == level


def test_a_check_is_shown_with_what_to_change() -> None:
    result = Result(
        "hello", 3, "says hello", FAILED, "it \x1b[31mdoes not\nTrace", "say it\nor not"
    )
    first, second, *advice = (line.plain for line in check_lines(result))
    assert first.startswith(f"✗ 3  {'hello':<{NAME_WIDTH}}  says hello: it ")
    assert "\x1b" not in first
    assert second.strip() == "Trace"
    assert [line.strip() for line in advice] == ["→ say it", "→ or not"]
    assert len({len(line) - len(line.lstrip()) for line in (second, *advice)}) == 1


def test_on_a_narrow_terminal_words_stay_whole_and_in_their_column() -> None:
    result = Result("hello", 3, "says hello", FAILED, "it does not say hello at all", "say it " * 8)
    first, *others = (line.plain for line in check_lines(result, 50))
    column = first.index("says hello")
    assert [line[:column].strip() for line in others] == [""] * len(others)
    assert max(map(len, (first, *others))) <= 50
    words = " ".join(line[column:] for line in (first, *others)).split()
    assert words == f"says hello: it does not say hello at all → {'say it ' * 8}".split()


def test_a_check_that_has_passed_shows_what_was_seen() -> None:
    (line,) = check_lines(Result("started", 2, "says so", PASSED, "after 50 ms"))
    assert line.plain.endswith("  after 50 ms")
    assert "says so" not in line.plain


def test_every_name_fits() -> None:
    assert max(map(len, ALL)) <= NAME_WIDTH
    assert len(set(ALL)) == len(ALL)
    assert [level for level, _ in CHECKS] == list(LEVELS)


def test_junit_counts_and_names_every_check() -> None:
    suite = ET.fromstring(junit(rating((1, PASSED), (1, WARNING), (2, FAILED), (3, UNCHECKED))))[0]
    counts = [suite.get(name) for name in ("tests", "failures", "skipped", "errors")]
    assert counts == ["4", "1", "1", "0"]
    assert suite.find("properties/property").attrib == {"name": "level", "value": "1"}  # type: ignore[union-attr]
    cases = suite.findall("testcase")
    assert [case.get("classname") for case in cases] == ["level 1", "level 1", "level 2", "level 3"]
    assert [[child.tag for child in case] for case in cases] == [
        ["system-out"],
        ["system-out"],
        ["failure"],
        ["skipped"],
    ]
    failure = cases[2].find("failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("seen", "seen\n→ change it")


def test_junit_of_some_checks_has_no_level() -> None:
    suite = ET.fromstring(junit(rating((1, PASSED), is_whole=False)))[0]
    assert suite.find("properties") is None


@pytest.mark.parametrize(
    "text", ["\x00", "\x1b[31m", "\ufffe", "\ud800", "]]>", "<&>", "\U0001f407"]
)
def test_junit_is_well_formed_whatever_the_worker_says(text: str) -> None:
    result = Result("result", 1, "answers", FAILED, f"it said {text}", "no")
    case = ET.fromstring(junit(Rating("kind", [result])))[0].find("testcase")
    assert case is not None
    failure = case.find("failure")
    assert failure is not None
    assert (failure.text or "").startswith("it said ")
