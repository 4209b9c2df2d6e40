"""What ``doctor`` makes of what it found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker_queue.cli.diagnosis import (
    BrokerQueueState,
    Facts,
    Finding,
    Verdict,
    diagnose,
    health,
)
from broker_queue.cli.exit_codes import ExitCode
from broker_queue.overview import Info, WorkerStatus
from broker_queue.protocol.messages import QueueStatus
from broker_queue.protocol.names import PROTOCOL_VERSION

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


def facts(**changes: Any) -> Facts:
    known: dict[str, Any] = {
        "address": "amqp://guest@localhost:5672",
        "address_source": "the default",
        "namespace": "bq",
        "version": "1.0",
        "now": NOW,
        "broker": "RabbitMQ 4.0.5",
        "requests_queue": BrokerQueueState(0, 1),
        "info": info(),
        "workers": [worker()],
    }
    return Facts(**(known | changes))


def info(**changes: Any) -> Info:
    known: dict[str, Any] = {
        "version": "1.0",
        "protocol": PROTOCOL_VERSION,
        "database": "bq.sqlite3",
        "broker": "RabbitMQ 4.0.5",
        "epoch": 1,
        "since": NOW - timedelta(seconds=60),
        "jobs": {},
        "queues": [queue(consumers=1)],
    }
    return Info(**(known | changes))


def queue(**changes: Any) -> QueueStatus:
    known: dict[str, Any] = {
        "queue": "bq.jobs.build",
        "type": "build",
        "channel": "",
        "in_line": 2,
        "handed_out": 1,
        "messages": 1,
        "consumers": 0,
    }
    return QueueStatus(**(known | changes))


def worker(**changes: Any) -> WorkerStatus:
    known: dict[str, Any] = {
        "worker": "w1",
        "types": ["build"],
        "channels": [""],
        "concurrency": 8,
        "running": 3,
        "host": "h",
        "pid": 1,
        "software": "s",
        "since": NOW - timedelta(seconds=60),
        "seen": NOW - timedelta(seconds=1),
        "leases": True,
    }
    return WorkerStatus(**(known | changes))


def problems(found: Facts) -> list[Finding]:
    return [finding for finding in diagnose(found) if finding.verdict is Verdict.PROBLEM]


def test_all_is_well() -> None:
    findings = diagnose(facts())
    assert {finding.verdict for finding in findings} == {Verdict.GOOD}
    assert health(findings) is ExitCode.OK


def test_a_broker_that_does_not_answer_ends_the_examination() -> None:
    findings = diagnose(facts(broker=None, broker_error="connection refused", info=None))
    assert [finding.subject for finding in findings] == ["address", "broker"]
    assert findings[1].text == "connection refused"
    assert "--url" in findings[1].advice
    assert health(findings) is ExitCode.UNAVAILABLE


def test_an_old_broker_is_named() -> None:
    (problem,) = problems(facts(broker="RabbitMQ 3.9.13"))
    assert problem.text == "RabbitMQ 3.9.13 is too old"


def test_three_ways_in_which_a_scheduler_is_missing_are_told_apart() -> None:
    never = problems(facts(info=None, requests_queue=None))
    stopped = problems(facts(info=None, requests_queue=BrokerQueueState(2, 0)))
    silent = problems(
        facts(info=None, info_error="no answer", requests_queue=BrokerQueueState(0, 1))
    )
    assert never[0].text == "none has run here: there is no queue bq.requests"
    assert stopped[0].text == "not running; 2 requests left in bq.requests"
    assert silent[0].text == "is connected and does not answer: no answer"
    for found in (never, stopped, silent):
        assert health(found) is ExitCode.UNAVAILABLE
        assert found[0].advice


def test_jobs_that_nobody_takes_are_a_problem_that_names_the_type() -> None:
    (problem,) = problems(
        facts(info=info(queues=[queue(), queue(in_line=0, handed_out=0, messages=0)]))
    )
    assert problem.text == "bq.jobs.build: 3 jobs are ready and no worker consumes"
    assert problem.advice == "start a worker with the type build"
    assert health([problem]) is ExitCode.UNHEALTHY
    (problem,) = problems(facts(info=info(queues=[queue(in_line=0, channel="eu")])))
    assert problem.text == "bq.jobs.build: 1 job is ready and no worker consumes"
    assert problem.advice == "start a worker with the type build and the channel eu"


def test_a_queue_that_the_broker_refuses_is_a_problem_and_one_of_somebody_else_a_note() -> None:
    found = facts(info=info(queues=[queue(refusal="RESOURCE_LOCKED - by a worker")]))
    (problem,) = problems(found)
    assert problem.text.endswith("refuses it to the scheduler: RESOURCE_LOCKED - by a worker")
    assert problem.advice == "end the program that declared it, and let workers declare none"
    found = facts(info=info(queues=[queue(consumers=1, foreign=True)]))
    (note,) = [each for each in diagnose(found) if each.verdict is Verdict.NOTE]
    assert note.text.startswith("bq.jobs.build was declared by somebody else")
    assert health(diagnose(found)) is ExitCode.OK


def test_messages_of_canceled_jobs_are_not_taken_for_those_of_running_ones() -> None:
    def lying(messages: int) -> Facts:
        line = queue(in_line=0, handed_out=0, messages=messages, canceled=2)
        return facts(info=info(queues=[line]))

    assert health(diagnose(lying(messages=2))) is ExitCode.OK
    (problem,) = problems(lying(messages=3))
    assert "1 message and no worker consumes: probably of running jobs" in problem.text


def test_parked_messages_and_another_protocol_are_problems() -> None:
    found = problems(facts(info=info(parked=1, protocol=PROTOCOL_VERSION + 1)))
    assert [finding.subject for finding in found] == ["protocol", "parked"]
    assert found[1].text.startswith("1 message in bq.parked")


def test_workers_that_died_and_other_versions_are_notes_only() -> None:
    died = worker(worker="w2", types=["lint"], seen=NOW - timedelta(seconds=20))
    queues = [queue(consumers=1), queue(type="lint", in_line=0, handed_out=0, messages=0)]
    findings = diagnose(facts(info=info(version="2.0", queues=queues), workers=[worker(), died]))
    notes = [finding.text for finding in findings if finding.verdict is Verdict.NOTE]
    assert notes == [
        "scheduler 2.0, this program 1.0",
        "w2 on h consumes no more: it died or lost its connection; last heard of 20 s ago",
    ]
    assert findings[-1].text == "1 with room for 8 jobs, 3 running"
    assert health(findings) is ExitCode.OK


def test_workers_that_take_no_leases_are_told_of_their_limit() -> None:
    workers = [worker(worker=f"w{n}", leases=n == 0) for n in range(6)]
    findings = diagnose(facts(workers=workers))
    (note,) = [finding for finding in findings if finding.verdict is Verdict.NOTE]
    assert note.subject == "leases"
    assert note.text.startswith("w1, w2, w3 and 2 more: no leases, so a job that runs longer than")
    assert health(findings) is ExitCode.OK


def test_messages_left_by_a_worker_that_died_are_a_problem() -> None:
    left = queue(in_line=0, handed_out=0, messages=2)
    (problem,) = problems(facts(info=info(queues=[left, queue(consumers=1)])))
    assert problem.text == (
        "bq.jobs.build: 2 messages and no worker consumes: probably of running jobs whose worker died"
    )
    assert problem.advice == "start a worker with the type build"
    assert health([problem]) is ExitCode.UNHEALTHY


@pytest.mark.parametrize(
    ("error", "text", "advice"),
    [
        ("ACCESS_REFUSED - Login was refused", "the user or the password", "correct them"),
        ("Expected one of ['Connection.OpenOk'], got", "the virtual host", "add_vhost"),
        ("NOT_ALLOWED - access to vhost 'x' refused", "the virtual host", "set_permissions"),
    ],
)
def test_a_broker_that_refuses_us_is_not_to_be_started(error: str, text: str, advice: str) -> None:
    (problem,) = problems(facts(broker=None, broker_error=error, info=None))
    assert problem.text.startswith(f"runs, but refuses {text}")
    assert advice in problem.advice
    assert "start RabbitMQ" not in problem.advice
    assert health([problem]) is ExitCode.UNAVAILABLE


def test_no_worker_at_all_is_a_note() -> None:
    assert health(diagnose(facts(workers=[]))) is ExitCode.OK
