"""Jobs that the broker gave up on."""

from __future__ import annotations

from broker_queue.amqp.channel import Delivery
from broker_queue.job import FailureCode
from broker_queue.protocol.messages import Error
from scheduler.incoming.addressing import Parked
from scheduler.operations.reports import Incoming
from scheduler.rules.lifecycle import Die
from scheduler.tokens import Tokens

DEAD_REASONS = {
    "delivery_limit": "its worker died, or gave it back, too often: {count} deliveries",
    "rejected": "a worker rejected its message",
    "expired": "its message expired in the queue: a policy of the broker limits its time there",
    "maxlen": "its queue was full: a policy of the broker limits its length",
}


def read_dead(delivery: Delivery, tokens: Tokens) -> Incoming | Parked:
    """Return the death of a job that the broker gave up on."""
    token = tokens.read(delivery.correlation_id)
    if token is None:
        return Parked(delivery, "dead letter with an unknown token")
    reason = str(delivery.headers.get("x-first-death-reason", "rejected"))
    count = delivery.headers.get("x-delivery-count", "many")
    known = DEAD_REASONS.get(reason)
    text = known.format(count=count) if known else f"the broker gave up on it: {reason[:1_000]}"
    died = reason == "delivery_limit"
    code = FailureCode.WORKER_DIED if died else FailureCode.DEAD_LETTER
    return Incoming(token, Die(token.handover), error=Error(code=code, message=text))
