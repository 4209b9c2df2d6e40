"""The kit finds what is wrong with a worker, and says so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from broker_queue.conformance.rehearse import ALL
from broker_queue.conformance.verdict import Outcome
from tests.conformance.rehearsals import (
    STOP_TIMEOUT,
    WRONG_WORKER,
    plan_of,
    rehearsed,
    result_of,
)

FAILED, WARNING = Outcome.FAILED, Outcome.WARNING


class Fault(NamedTuple):
    """What a worker does wrong, and how the kit must put it."""

    name: str
    check: str
    outcome: Outcome
    words: tuple[str, ...]
    """In what is said and advised."""


def fails(name: str, check: str, *words: str) -> Fault:
    return Fault(name, check, FAILED, words)


def warns(name: str, check: str, *words: str) -> Fault:
    return Fault(name, check, WARNING, words)


_CRASH = "with exit code 1\nno settings were found\nit fails at its start: see what it prints"
"""What it printed at one start, and no more of it."""

FAULTS = (
    # A worker that cannot begin.
    fails("never-connects", "consume", "nobody connected within", "BROKER_QUEUE_URL"),
    fails("crashes", "consume", "started 3 times, the worker ended by itself", _CRASH),
    fails("ends-silently", "consume", "exit code 1; it printed nothing", "until it is told"),
    fails("another-queue", "consume", ".dead in place of ", ".jobs.rehearsal", "--type"),
    fails("declares", "consume", "406 PRECONDITION_FAILED", "declare nothing"),
    warns("declares-alike", "consume", "it declares queue", "leave that to the scheduler"),
    warns("no-prefetch", "consume", "no prefetch", "basic.qos"),
    fails("auto-ack", "consume", "automatic acknowledgement", "no_ack"),
    # Level 1: reports and acknowledgements.
    fails("ack-first", "result", "acknowledges the job's message before it reports"),
    fails("no-ack", "result", "does not acknowledge the job's message", "basic.ack"),
    fails("no-id", "result", "has not the job's correlation_id (it has none)"),
    fails("no-json", "result", "its result is no JSON: {'rehearsal': 0}"),
    fails("text-plain", "result", "content_type text/plain", "leave the content_type out"),
    fails("encoded-twice", "result", "encoded twice", "as JSON once"),
    fails("wrong-queue", "result", "to exchange '' with routing key 'results'", "reply_to"),
    fails("wrong-exchange", "result", "to exchange 'test-", ".results'", "reply_to"),
    fails("unknown-report", "result", "report of type 'result'", "finished"),
    fails("requeues-reported", "result", "gives the message back (requeue)"),
    warns("no-confirms", "result", "does not have its reports confirmed", "confirm.select"),
    warns("ack-before-confirm", "result", "acknowledges the job before its report is confirmed"),
    warns(
        "ack-twice", "several", "406 PRECONDITION_FAILED", "settle each message once", "multiple"
    ),
    fails("acks-multiple", "several", "several messages at once (multiple)", "by itself"),
    fails("first-id", "several", "has not the job's correlation_id (it has '"),
    fails("answers-twice", "several", "reported 2 times on one job"),
    fails("loses-a-job", "several", "settled the job's message (ack) without a report"),
    fails("garbled", "odd_args", "came back as", "UTF-8"),
    warns("rounded", "odd_args", "rounds large or exact numbers"),
    fails("hangs-at-cut", "redelivery", "did not connect again within", "growing pauses"),
    warns("ends-at-cut", "redelivery", "ended when its connection was lost", "started it again"),
    fails("acks-at-stop", "stop", "of 12 jobs: acknowledged without a report"),
    warns(
        "ignores-sigterm",
        "stop",
        f"does not end within {STOP_TIMEOUT:g} s of SIGTERM",
        "killed after",
    ),
    # Level 2: failures, jobs that are seen, cancels.
    fails("dies-of-malformed", "malformed", "exit code 1", "TypeError: args must be an object"),
    warns("retries-malformed", "malformed", "tried again", "`retry` false"),
    fails("rejects-failing", "failed", "rejects a job that fails", "nobody learns why"),
    fails("requeues-failing", "failed", "back to the queue", "report `failed`"),
    fails("invalid-failed", "failed", "report failed is not valid", "code", "appendix"),
    fails("finished-if-failing", "failed", "a job that fails is reported as finished"),
    warns("failure-untold", "failed", "message is 'an error', not that of the job"),
    fails("no-started", "started", "does not say that a job has started"),
    fails("invalid-started", "started", "report started is not valid", "worker"),
    fails("at-once", "started", "ended at once", "seconds"),
    warns("late-started", "started", "reports `started` only 1."),
    warns("runs-copies", "copies", "again whose message comes again while it runs: 2 reports"),
    warns("runs-again-at-cut", "copies", "again that runs while its connection is lost: 2 reports"),
    warns("tells-end-again", "copies", "a new connection is being made is reported as ended 2"),
    warns("releases-copies", "copies", "reports `released` of a job whose message comes again"),
    warns("keeps-copies", "copies", "keeps the second message of a job whose message comes again"),
    fails("no-control", "cancel_running", "binds no queue to test-", "exclusive queue"),
    fails("ignores-cancel", "cancel_running", "went on with a canceled job", "control message"),
    fails("finished-after-cancel", "cancel_running", "it reports finished of a job", "canceled"),
    fails("stops-all", "cancel_running", "when another one is canceled", "compare the tokens"),
    fails("requeues-canceled", "cancel_running", "gives a canceled job back to the queue"),
    warns("cancels-as-failed", "cancel_running", "without a report `released`"),
    warns("no-released", "cancel_running", "without a report `released`"),
    fails("no-control", "cancel_before", "binds no queue to test-"),
    fails("runs-canceled", "cancel_before", "it ran a job that was canceled before it came"),
    fails("keeps-canceled", "cancel_before", "keeps the message of a job that was canceled"),
    fails("dies-of-unknown-control", "tolerance", "exit code 1", "KeyError('tokens')", "ignore"),
    fails("obeys-any-type", "tolerance", "of an unknown type names", "only `cancel`"),
    fails("loses-connection-of-unknown", "tolerance", "lost its connection", "ignore"),
    fails("runs-newer", "newer_protocol", "ran a job of protocol 2: finished", "basic.reject"),
    fails("requeues-newer", "newer_protocol", "settles a job of protocol 2 with requeue"),
    warns("ignores-sigterm", "stop_in_order", f"does not end within {STOP_TIMEOUT:g} s of SIGTERM"),
    warns("exit-code", "stop_in_order", "ends with exit code 3", "exit with 0"),
    warns("dies-at-stop", "stop_in_order", "SIGTERM kills it, with 4 running jobs"),
    warns("abandons-at-stop", "stop_in_order", "abandons 4 running jobs"),
    warns("takes-at-stop", "stop_in_order", "goes on taking jobs", "basic.cancel"),
    warns("takes-in-advance", "stop_in_order", "leaves 4 jobs that it has not begun", "limit"),
    # Level 3: hello.
    fails("no-hello", "hello", "sends no hello"),
    fails("invalid-hello", "hello", "hello is not valid", "concurrency", "many"),
    fails("hello-unanswered", "hello", "hello has no reply_to"),
    fails("other-types-in-hello", "hello", "hello names the types something-else"),
    fails("hello-once", "hello", "does not say hello again", "hello_interval"),
    fails("hello-before-control", "hello", "says hello before it hears test-", "no cancel falls"),
    fails("binds-late", "hello", "says hello before it hears test-", "bind and consume"),
    fails("jobs-before-hello", "hello", "takes jobs before its hello"),
    fails("no-control", "hello", "does not hear test-"),
    warns("announces-no-leases", "hello", "does not say that it takes leases"),
    fails("ignores-welcome", "canceled_in_hello", "it ran a job that the answer to its hello"),
    # Claims and leases.
    fails("no-claim", "claim", "runs a job with the header `republished` without a claim"),
    fails("claims-unawaited", "claim", "before its claim is answered"),
    fails("claims-beside", "claim", "starts a job with the header `republished` before its claim"),
    fails("another-name", "claim", "started names the worker 'somebody', and its hello 'wrong-"),
    fails("no-claim", "claim_refused", "without a claim", "reply_to"),
    fails("ignores-claim", "claim_refused", "it ran a job whose claim was answered `canceled`"),
    fails("runs-stale", "claim_refused", "a job again that has ended", "is answered `stale`"),
    fails("no-claim", "claim_unanswered", "runs a republished job without a claim"),
    fails("runs-unanswered", "claim_unanswered", "2.0 s after a claim that was not answered"),
    fails("takes-any-answer", "late_answer", "takes the late answer to `lease`", "message_id"),
    fails("no-claim", "late_answer", "runs a job again that has ended", "without a claim"),
    warns("asks-once", "claim_unanswered", "has not asked again 13 s after", "may be lost"),
    fails("another-heartbeat", "lease", "heartbeat names the worker 'somebody', and its hello"),
    warns("named-at-start", "lease", "names itself in `started`, and not in `lease` and `heartb"),
    fails("no-lease", "lease", "asks for no lease within", "lease_after"),
    fails("lease-unanswered", "lease", "asks for a lease without reply_to"),
    fails("ack-before-lease", "lease", "acknowledges before its lease is granted"),
    fails("acks-lease-twice", "lease", "406 PRECONDITION_FAILED", "must not be again"),
    fails("no-heartbeats", "lease", "was silent for", "of a lease of 2 s", "heartbeat"),
    fails("slow-heartbeats", "lease", "was silent for ", "several times"),
    warns("heartbeats-unanswered", "lease", "heartbeats ask for no answer"),
    fails("ignores-stale", "lease_lost", "heartbeat was answered `stale` (heartbeat)"),
    fails("lost-at-cut", "held_through_cut", "nothing was heard of a leased job"),
    fails("ends-at-cut", "held_through_cut", "exit code 1", "needs no connection to go on"),
    fails("releases-lost", "unbegun_at_cut", "it reports a job that it had not begun (released)"),
    fails("claims-lost", "unbegun_at_cut", "it claims a job that it had not begun (started)"),
    fails("begins-lost", "unbegun_at_cut", "runs a job without a claim that waited", "timers"),
    fails("repeats-released", "unbegun_at_cut", "`released` of a job whose message has come again"),
    fails("repeats-released-at-once", "unbegun_at_cut", "reports a job that it had not begun"),
    # The end.
    fails("ignores-sigterm", "shutdown", f"does not end within {STOP_TIMEOUT:g} s of SIGTERM"),
    fails("exit-code", "shutdown", "ends with exit code 3", "exit with 0"),
    fails("acks-at-stop", "shutdown", "of 12 jobs: acknowledged without a report"),
    fails("dies-at-stop", "shutdown", "SIGTERM kills it, with 4 running jobs"),
    warns("abandons-at-stop", "shutdown", "abandons 4 running jobs"),
    warns("killed-when-done", "shutdown", "ends with exit code 143"),
    warns("tells-no-stop", "shutdown", "does not say that it stops"),
)


CHECKS = tuple(dict.fromkeys(fault.check for fault in FAULTS))

AT_ONCE = 4
"""Rehearsals side by side; most of their time they wait."""


async def _miss(fault: Fault, broker_url: str, turn: asyncio.Semaphore) -> str | None:
    """Return what is said of a fault, if it is not what must be said."""
    namespace = f"test-{uuid4().hex[:12]}"
    async with turn:
        plan = plan_of(broker_url, namespace, *WRONG_WORKER, "--fault", fault.name)
        rating = await rehearsed(plan, {fault.check})
    found = result_of(rating, fault.check)
    said = f"{found.text}\n{found.advice}"
    missing = [words for words in fault.words if words not in said]
    if found.outcome is fault.outcome and not missing:
        return None
    return f"{fault.name}: {found.outcome}, missing {missing} in:\n{said}"


@pytest.mark.parametrize("check", CHECKS)
async def test_every_fault_is_found(check: str, broker_url: str) -> None:
    turn = asyncio.Semaphore(AT_ONCE)
    faults = [fault for fault in FAULTS if fault.check == check]
    misses = await asyncio.gather(*(_miss(fault, broker_url, turn) for fault in faults))
    assert not [miss for miss in misses if miss], "\n\n".join(miss for miss in misses if miss)


def test_every_fault_is_a_fault_of_the_worker() -> None:
    script = Path(WRONG_WORKER[-1])
    files = (script, script.with_name("wrong_wire.py"))
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    assert not [fault.name for fault in FAULTS if f'"{fault.name}"' not in source]


def test_every_check_has_its_fault() -> None:
    assert set(CHECKS) == set(ALL)
