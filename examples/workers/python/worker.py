"""A worker with pika and nothing of broker-queue: level 2 of docs/protocol.md.

One thread, the main one, speaks AMQP; every job runs in a thread of its own.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

import pika
from handlers import HANDLERS, Canceled, InvalidArgs, Job
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

URL = os.environ.get("BROKER_QUEUE_URL", "amqp://guest:guest@localhost:5672")
NAMESPACE = os.environ.get("BROKER_QUEUE_NAMESPACE", "bq")
CONCURRENCY = os.environ.get("CONCURRENCY", "4")
NAME = f"{socket.gethostname()}/{os.getpid()}"

PROTOCOL = 1
STARTED_AFTER = 0.05
STOP_WITHIN = 30
LONGEST_PAUSE = 15
REMEMBERED = 10_000

log = logging.getLogger("worker")


class Delivery:
    """A job that this worker holds, from its message until that is acknowledged."""

    def __init__(self, token: str, job: Job) -> None:
        self.token = token
        self.job = job
        self.began_at: int | None = None  # milliseconds since the epoch
        self.outcome: tuple[str, bytes] | None = None  # type and body of its last report
        self.reported = False
        self.message: tuple[BlockingChannel, int] | None = None  # None: lost with its connection

    def run(self) -> None:
        try:
            result = HANDLERS[self.job.type](self.job)
            body = result if isinstance(result, bytes) else encode(result)
            self.outcome = "finished", body
        except Canceled:
            self.outcome = "released", encode({"reason": "canceled"})
        except InvalidArgs as error:
            self.outcome = "failed", failure("invalid_args", error, retry=False)
        except BaseException as error:  # SystemExit as well is one failed attempt
            log.exception("job of type %s failed", self.job.type)
            self.outcome = "failed", failure(type(error).__name__, error)


class Worker:
    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.connection: pika.BlockingConnection | None = None
        self.held: dict[str, Delivery] = {}
        self.waiting: deque[Delivery] = deque()
        self.running: set[str] = set()
        self.canceled: deque[str] = deque(maxlen=REMEMBERED)  # tokens of jobs still on their way
        self.stop_by: float | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, over as many connections as it takes."""
        for number in signal.SIGTERM, signal.SIGINT:
            signal.signal(number, self.stop)
        queues = ", ".join(f"{NAMESPACE}.jobs.{job_type}" for job_type in HANDLERS)
        log.info("taking jobs from %s at %s", queues, re.sub("//.*@", "//", URL))
        pause = 0.5
        while not self.may_leave():
            try:
                self.connect()
                pause = 0.5
                self.serve()
            except (AMQPError, OSError) as error:
                log.warning("connection lost, next try in %s s: %r", pause, error)
                self.abandon()
                self.rest(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        log.info("stopped")

    def stop(self, *_: object) -> None:
        self.stop_by = self.stop_by or time.monotonic() + STOP_WITHIN

    def rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.may_leave():
            time.sleep(0.1)

    def may_leave(self) -> bool:
        if self.stop_by is None:
            return False
        unreported = any(not delivery.reported for delivery in self.held.values())
        return not unreported or time.monotonic() > self.stop_by

    def connect(self) -> None:
        """Listen for cancels before anything else: then none falls in between."""
        parameters = pika.URLParameters(URL)
        parameters.client_properties = {"connection_name": NAME}
        self.connection = pika.BlockingConnection(parameters)
        self.reports = self.connection.channel()
        self.reports.confirm_delivery()
        self.control = self.connection.channel()
        queue = self.control.queue_declare("", exclusive=True).method.queue
        for job_type in HANDLERS:
            self.control.queue_bind(queue, f"{NAMESPACE}.control", routing_key=job_type)
        self.control.basic_consume(queue, self.on_control, auto_ack=True)
        self.settle()
        self.consumed: set[BlockingChannel] = set()
        for job_type in HANDLERS:
            self.consume(job_type)

    def consume(self, job_type: str) -> None:
        """Take jobs of a type; its queue comes into being with the first of them."""
        if self.stop_by is not None:
            return

        def again(*_: object) -> None:
            self.consumed.discard(channel)
            self.connection.call_later(1, lambda: self.consume(job_type))

        channel = self.connection.channel()
        channel.basic_qos(prefetch_count=self.concurrency)
        channel.add_on_cancel_callback(again)  # somebody deleted the queue
        try:
            channel.basic_consume(f"{NAMESPACE}.jobs.{job_type}", self.on_job)
        except ChannelClosedByBroker as closed:
            if closed.reply_code != 404:
                raise
            again()
        else:
            self.consumed.add(channel)

    def serve(self) -> None:
        while self.stop_by is None:
            self.process_events()
        log.info("stopping, %s jobs still run", len(self.running))
        for channel in self.consumed:
            for tag in channel.consumer_tags:
                channel.basic_cancel(tag)
        while self.waiting:
            self.give_back(self.waiting.popleft(), "the worker stops")
        while not self.may_leave():
            self.process_events()
        self.connection.close()

    def process_events(self) -> None:
        self.connection.process_data_events(time_limit=0.2)
        # pika does not raise if the broker has closed a channel, as after its `consumer_timeout`.
        if not all(channel.is_open for channel in (self.reports, self.control, *self.consumed)):
            raise ConnectionError("the broker has closed a channel")

    def abandon(self) -> None:
        """The broker takes the messages back: what has not begun is forgotten, what runs goes on.

        What was reported without a message may have gone to another worker: only the last of those
        are kept.
        """
        self.waiting.clear()
        begun = [delivery for delivery in self.held.values() if delivery.began_at is not None]
        over = [delivery for delivery in begun if delivery.reported][:-REMEMBERED]
        self.held = {each.token: each for each in begun if each not in over}
        for delivery in begun:
            delivery.message = None
        with suppress(AMQPError):  # it was closed already
            if self.connection is not None:
                self.connection.close()

    def on_job(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        headers = properties.headers or {}
        version, token = headers.get("protocol"), properties.correlation_id
        if not isinstance(version, int) or version > PROTOCOL or not token:
            log.error("a job of protocol %r is not for this worker", version)
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        message = channel, method.delivery_tag
        if token in self.held:
            self.on_job_again(self.held[token], message)
            return
        delivery = self.held[token] = Delivery(token, Job(properties.type, body))
        delivery.message = message
        if token in self.canceled:
            self.give_back(delivery, "canceled")
        elif self.stop_by is not None:
            self.give_back(delivery, "the worker stops")
        else:
            self.waiting.append(delivery)
            self.begin_next()

    def on_job_again(self, delivery: Delivery, message: tuple[BlockingChannel, int]) -> None:
        if delivery.message is not None:  # a second copy
            channel, tag = message
            channel.basic_ack(tag)
        else:  # it still runs here, or ended while there was no connection
            delivery.message = message
            self.tell_started(delivery)
            self.acknowledge(delivery)

    def on_control(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        if properties.type != "cancel":
            return
        try:
            tokens = json.loads(body)["tokens"]
        except (ValueError, KeyError, TypeError):
            log.exception("a control message that cannot be read")
            return
        for token in tokens:
            delivery = self.held.get(token)
            if delivery is None:
                self.canceled.append(token)
            elif delivery in self.waiting:
                self.waiting.remove(delivery)
                self.give_back(delivery, "canceled")
            else:
                delivery.job.canceled.set()

    def begin_next(self) -> None:
        while self.waiting and len(self.running) < self.concurrency:
            delivery = self.waiting.popleft()
            delivery.began_at = time.time_ns() // 1_000_000
            self.running.add(delivery.token)
            threading.Thread(target=self.run_job, args=[delivery], daemon=True).start()
            self.connection.call_later(STARTED_AFTER, lambda told=delivery: self.tell_started(told))

    def run_job(self, delivery: Delivery) -> None:
        delivery.run()
        with suppress(AMQPError):  # then it is reported over the next connection
            self.connection.add_callback_threadsafe(self.settle)

    def tell_started(self, delivery: Delivery) -> None:
        if delivery.outcome is None:
            self.report(delivery, "started", encode({"worker": NAME}))

    def settle(self) -> None:
        """Report what has ended; first the report, then the acknowledgement."""
        for delivery in list(self.held.values()):
            if delivery.outcome is not None and not delivery.reported:
                self.running.discard(delivery.token)
                self.conclude(delivery, *delivery.outcome)
        self.begin_next()

    def give_back(self, delivery: Delivery, reason: str) -> None:
        delivery.outcome = "released", encode({"reason": reason})
        self.conclude(delivery, *delivery.outcome)

    def conclude(self, delivery: Delivery, kind: str, body: bytes) -> None:
        self.report(delivery, kind, body)
        delivery.reported = True
        self.acknowledge(delivery)

    def acknowledge(self, delivery: Delivery) -> None:
        if delivery.reported and delivery.message is not None:
            channel, tag = delivery.message
            channel.basic_ack(tag)
            del self.held[delivery.token]

    def report(self, delivery: Delivery, kind: str, body: bytes) -> None:
        """Publish a report and return once the broker has confirmed it."""
        ends = kind in {"finished", "failed"}
        properties = pika.BasicProperties(
            type=kind,
            correlation_id=delivery.token,
            content_type="application/json",
            delivery_mode=2,
            headers={"started": delivery.began_at} if ends else None,
        )
        self.reports.basic_publish(f"{NAMESPACE}.reports", "reports", body, properties)


def encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def failure(code: str, error: BaseException, *, retry: bool = True) -> bytes:
    text = str(error).encode(errors="backslashreplace").decode()  # no halves of surrogate pairs
    return encode({"code": code, "message": text[:20_000], "retry": retry})


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    if not re.match("amqps?://", URL):
        sys.exit("BROKER_QUEUE_URL must be amqp://user:password@host:port/vhost")
    if not re.fullmatch("[1-9][0-9]*", CONCURRENCY):
        sys.exit("CONCURRENCY must be a positive number")
    Worker(int(CONCURRENCY)).run()
