"""A worker of level 3 without our own `Worker`, which does one thing wrong if it is told to.

``python wrong_worker.py [--fault NAME]``; the environment says where the broker is. The faults stand in
``test_wrong_workers.py`` by name; each stands in one place of the code, here or in ``wrong_wire.py``,
beside what would be right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any
from uuid import uuid4

import aiormq
from aiormq.abc import DeliveredMessage
from wrong_wire import LOST, NAMESPACE, REPLY_TO, URL, Life, Wire

ASK_AGAIN = 2.0
"""Seconds without an answer."""

SLOT_WITHIN = 3.0
"""Seconds that a job waits for a slot before it is given back."""


class Running:
    """A job that runs, or waits for its claim."""

    def __init__(self, message: DeliveredMessage, life: Life) -> None:
        self.message = message
        self.life = life
        self.work: asyncio.Task[Any] | None = None
        self.is_leased = False
        self.is_canceled = False
        self.is_lost = False

    def stop(self) -> None:
        if self.work is not None:
            self.work.cancel()


class WrongWorker(Wire):
    """Serves one type of job.

    Args:
        job_type: of its jobs.
        fault: what it does wrong.
        concurrency: how many jobs it runs at once.
    """

    def __init__(self, job_type: str, fault: str, concurrency: int) -> None:
        super().__init__(fault)
        self.type = job_type
        self.concurrency = concurrency
        self.running: dict[str, Running] = {}
        self.unbegun: dict[str, Life] = {}
        """Jobs that wait for a slot: by token, the connection over which they came."""
        self.untold: list[str] = []
        """Jobs of which something is said over the next connection, which none must be."""
        self.canceled: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.connected = asyncio.Event()
        self.stopping = asyncio.Event()
        self.settings: dict[str, Any] = {}
        self.completed = 0

    async def run(self) -> None:
        if self.has("crashes"):
            raise SystemExit("no settings were found")
        if self.has("ends-silently"):
            raise SystemExit(1)
        loop = asyncio.get_running_loop()
        if self.has("ignores-sigterm"):
            loop.add_signal_handler(signal.SIGTERM, lambda: None)
        elif not self.has("dies-at-stop"):
            loop.add_signal_handler(signal.SIGTERM, self.stopping.set)
        if self.has("never-connects"):
            await self.stopping.wait()
        while not self.stopping.is_set():
            with suppress(*LOST):
                await self.live()
            self.lose()
            if self.has("ends-at-cut") and not self.stopping.is_set():
                raise SystemExit(1)
            if self.has("hangs-at-cut"):
                await self.stopping.wait()
            await asyncio.sleep(0.05)

    async def live(self) -> None:
        """Connect, and serve until the connection is lost or the worker stops."""
        connection = await aiormq.connect(URL)
        try:
            channel = await connection.channel(publisher_confirms=not self.has("no-confirms"))
            life = self.life = Life(connection, channel)
            for closing in (connection.closing, channel.closing):
                closing.add_done_callback(lambda _: self.on_closed(life))
            await self.set_up(life)
            self.connected.set()
            await self.stay(life)
            if self.stopping.is_set():
                await self.wind_down(life)
        finally:
            with suppress(*LOST):
                await asyncio.wait_for(connection.close(), 1.0)

    async def set_up(self, life: Life) -> None:
        channel = life.channel
        await channel.basic_consume(REPLY_TO, self.on_answer, no_ack=True)
        await self.tell_of_lost()
        hello_first = self.has("hello-before-control", "jobs-before-hello")
        if self.has("jobs-before-hello"):
            await self.take_jobs(life)
        if hello_first:
            await self.hello(life)
        if not self.has("no-control"):
            declared = await channel.queue_declare(exclusive=True)
            if not self.has("binds-late"):
                await channel.queue_bind(declared.queue, f"{NAMESPACE}.control", self.type)
            await channel.basic_consume(declared.queue, self.on_control, no_ack=True)
        if not hello_first and not self.has("no-hello"):
            await self.hello(life)
        if self.has("binds-late"):
            await channel.queue_bind(declared.queue, f"{NAMESPACE}.control", self.type)
        if not self.has("jobs-before-hello"):
            await self.take_jobs(life)

    async def take_jobs(self, life: Life) -> None:
        queue = f"{NAMESPACE}.jobs.{self.type}"
        if self.has("declares"):
            await life.channel.queue_declare(queue, durable=True)
        if self.has("declares-alike"):
            arguments = {
                "x-queue-type": "quorum",
                "x-dead-letter-exchange": f"{NAMESPACE}.dead",
                "x-delivery-limit": 20,
            }
            await life.channel.queue_declare(queue, durable=True, arguments=arguments)
        if not self.has("no-prefetch"):
            factor = 2 if self.has("takes-in-advance") else 1
            await life.channel.basic_qos(prefetch_count=factor * self.concurrency)
        if self.has("another-queue"):
            queue = f"{NAMESPACE}.dead"
        no_ack = self.has("auto-ack")
        await life.consume(life.channel, queue, self.on_job, no_ack=no_ack)
        if self.has("three-consumers"):
            await life.consume(life.channel, queue, self.on_job)
            other = await life.connection.channel()
            await other.basic_qos(prefetch_count=1)
            await life.consume(other, queue, self.on_job)

    async def stay(self, life: Life) -> None:
        """Say hello again and again until the connection is lost or the worker stops."""
        events = {asyncio.create_task(each.wait()) for each in (life.is_lost, self.stopping)}
        try:
            while not (life.is_lost.is_set() or self.stopping.is_set()):
                interval = self.settings.get("hello_interval", 30.0)
                await asyncio.wait(events, timeout=interval, return_when=asyncio.FIRST_COMPLETED)
                if not self.has("hello-once", "no-hello"):
                    await self.hello(life)
        finally:
            for event in events:
                event.cancel()

    async def wind_down(self, life: Life) -> None:
        """End what runs, and have the broker give the rest to somebody else."""
        if not self.has("takes-at-stop"):
            for channel, tag in life.consumers:
                await channel.basic_cancel(tag)
        if self.has("acks-at-stop"):
            for running in self.running.values():
                await self.settle(running.message, "ack")
        elif not self.has("abandons-at-stop"):
            while self.tasks or (self.has("takes-at-stop") and await self.has_more(life)):
                if self.tasks:
                    await asyncio.wait(self.tasks)
        if not self.has("tells-no-stop"):
            await self.hello(life)

    async def has_more(self, life: Life) -> bool:
        declared = await life.channel.queue_declare(f"{NAMESPACE}.jobs.{self.type}", passive=True)
        await asyncio.sleep(0.2)  # for what is on its way
        return bool(declared.message_count or self.tasks)

    def lose(self) -> None:
        """Give up what the broker will give to somebody else."""
        self.life = None
        self.connected.clear()
        if self.has("claims-lost"):
            self.untold += self.unbegun
        if not self.has("begins-lost"):
            self.unbegun.clear()
        goes_on = self.has("runs-again-at-cut", "tells-end-again")
        for running in [] if goes_on else list(self.running.values()):
            if not running.is_leased or self.has("lost-at-cut"):
                running.is_lost = True
                running.stop()

    async def hello(self, life: Life) -> None:
        body: dict[str, Any] = {
            "worker": self.name,
            "types": ["something-else" if self.has("other-types-in-hello") else self.type],
            "concurrency": self.concurrency,
            "software": "wrong worker 1",
            "leases": not self.has("announces-no-leases"),
            "stopping": self.stopping.is_set() and not self.has("tells-no-stop"),
        }
        if self.has("invalid-hello"):
            body["concurrency"] = "many"
        key = uuid4().hex
        reply_to = None if self.has("hello-unanswered") else REPLY_TO
        answer = await self.ask(f"{NAMESPACE}.requests", "requests", body, "hello", key, reply_to)
        if answer is not None:
            self.settings = answer[1]
            if not self.has("ignores-welcome"):
                self.canceled |= set(answer[1].get("canceled", []))

    async def on_control(self, message: DeliveredMessage) -> None:
        if self.has("dies-of-unknown-control"):
            try:
                tokens = json.loads(message.body)["tokens"]
            except (ValueError, KeyError) as error:
                sys.stdout.write(f"{error!r}\n")
                sys.stdout.flush()
                os._exit(1)
        obeys = self.has("obeys-any-type") and b"tokens" in message.body
        if message.header.properties.message_type != "cancel" and not obeys:
            if self.has("loses-connection-of-unknown"):
                await self.life.connection.close()
            return
        tokens = json.loads(message.body)["tokens"]
        if not self.has("runs-canceled"):
            self.canceled |= set(tokens)
        for token in [*self.running] if self.has("stops-all") else tokens:
            if token in self.running and not self.has("ignores-cancel"):
                self.running[token].is_canceled = True
                self.running[token].stop()

    async def on_job(self, message: DeliveredMessage) -> None:
        task = asyncio.create_task(self.take(message, self.life))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def take(self, message: DeliveredMessage, life: Life) -> None:
        properties = message.header.properties
        token = properties.correlation_id or ""
        if self.first_id is None:
            self.first_id = token
        with suppress(*LOST):
            if (properties.headers or {}).get("protocol", 1) > 1 and not self.has("runs-newer"):
                await self.settle(message, "requeue" if self.has("requeues-newer") else "reject")
            elif self.is_copy(token, message.redelivered):
                await self.drop_copy(message, token)
            elif token in self.canceled:
                await self.drop(message, token)
            elif await self.has_slot(token, life):
                running = self.running[token] = Running(message, life)
                try:
                    await self.execute(token, running)
                finally:
                    self.running.pop(token, None)
            elif not life.is_lost.is_set() and not self.has("takes-in-advance"):
                await self.give_back(message, token)

    async def has_slot(self, token: str, life: Life) -> bool:
        """Whether a job may begin: there is a slot for it, the connection, and no end in sight."""
        self.unbegun[token] = life
        try:
            async with asyncio.timeout(None if self.has("begins-lost") else SLOT_WITHIN):
                while len(self.running) >= self.concurrency:
                    if self.forgets(life):
                        return False
                    await asyncio.sleep(0.02)
        except TimeoutError:
            if self.has("releases-lost") and life.is_lost.is_set():
                self.untold.append(token)
            return False
        finally:
            if self.unbegun.get(token) is life:
                del self.unbegun[token]
        return not self.forgets(life)

    def forgets(self, life: Life) -> bool:
        """Whether a job that came over this connection is not to begin any more."""
        if life.is_lost.is_set():
            return not self.has("releases-lost", "begins-lost")
        return self.stopping.is_set() and not self.has("takes-at-stop")

    async def give_back(self, message: DeliveredMessage, token: str) -> None:
        """Give back a job that has waited for long enough, or that does not begin any more."""
        try:
            await self.drop(message, token)
        except LOST:
            if self.has("repeats-released", "repeats-released-at-once"):
                self.untold.append(token)
            raise

    async def tell_of_lost(self) -> None:
        """Say over a new connection what was not to be said of jobs of the lost one."""
        if self.has("releases-lost", "repeats-released-at-once"):
            for token in self.untold:
                await self.report("released", b"{}", token)
            self.untold.clear()
        if self.has("claims-lost"):
            for token in self.untold:
                await self.ask_about(token, "started", wait=False)
            self.untold.clear()

    def is_copy(self, token: str, redelivered: bool) -> bool:
        if self.has("runs-again-at-cut" if redelivered else "runs-copies"):
            return False
        return token in self.running or token in self.unbegun

    async def drop_copy(self, message: DeliveredMessage, token: str) -> None:
        if self.has("releases-copies"):
            await self.report("released", b"{}", token)
        if not self.has("keeps-copies"):
            await self.settle(message, "ack")

    async def execute(self, token: str, running: Running) -> None:
        message = running.message
        if self.has("ack-first"):
            await self.settle(message, "ack")
        if not await self.begin(token, running):
            return
        watch = asyncio.create_task(self.watch(token, running))
        try:
            kind, result = await self.outcome(running)
        finally:
            watch.cancel()
        if running.is_lost or (kind == "canceled" and not running.is_canceled):
            return
        if kind == "canceled":
            await self.drop_canceled(running, token)
            return
        self.completed += 1
        if self.has("loses-a-job") and self.completed == 5:
            await self.settle(message, "ack")
            return
        if kind in {"reject", "requeue"}:
            await self.settle(message, kind)
            return
        for _ in range(await self.times_to_tell(running)):
            await self.report(kind, result, token)
        if running.is_leased:
            await self.end_leased(message)
            return
        await self.settle(message, "requeue" if self.has("requeues-reported") else "ack")
        if self.has("ack-twice"):
            await self.settle(message, "ack")

    async def times_to_tell(self, running: Running) -> int:
        """Return how often the end of a job is to be told, as soon as it can be."""
        ended_in_between = not self.connected.is_set()
        if running.is_leased or self.has("runs-again-at-cut", "tells-end-again"):
            await self.connected.wait()
        return 2 if ended_in_between and self.has("tells-end-again") else 1

    async def begin(self, token: str, running: Running) -> bool:
        """Whether a job has started, and was not dropped since its claim was refused."""
        body = running.message.body
        if self.has("claims-beside"):
            running.work = asyncio.create_task(self.work(body))
        if not await self.claim(running.message, token):
            running.stop()
            await self.drop(running.message, token)
            return False
        running.work = running.work or asyncio.create_task(self.work(body))
        if self.has("repeats-released") and token in self.untold:
            await self.report("released", b"{}", token)
        return True

    async def end_leased(self, message: DeliveredMessage) -> None:
        if self.has("acks-lease-twice"):
            await self.settle(message, "ack")

    async def claim(self, message: DeliveredMessage, token: str) -> bool:
        """Whether a job may start, which may have ended or been canceled before it came."""
        republished = (message.header.properties.headers or {}).get("republished")
        if not (message.redelivered or republished) or self.has("no-claim"):
            return True
        accepted = {"accepted", "stale"} if self.has("runs-stale") else {"accepted"}
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_AGAIN):
                    waits = not self.has("claims-unawaited")
                    answer = await self.ask_about(token, "started", wait=waits)
                    return answer is None or self.has("ignores-claim") or answer[0] in accepted
            if self.has("runs-unanswered"):
                return True
            if self.has("asks-once"):
                await asyncio.Future()

    async def outcome(self, running: Running) -> tuple[str, bytes]:
        """Return how a job ends, and the body of the report."""
        try:
            return "finished", await running.work
        except asyncio.CancelledError:
            return "canceled", b""
        except ValueError as error:
            failed = {"code": "invalid_args", "message": str(error)}
            failed["retry"] = self.has("retries-malformed")
            return "failed", json.dumps(failed).encode()
        except RuntimeError as error:
            if self.has("finished-if-failing"):
                return "finished", b"null"
            if self.has("rejects-failing"):
                return "reject", b""
            if self.has("requeues-failing"):
                self.fault = ""  # once, or it would go round for ever
                return "requeue", b""
            if self.has("invalid-failed"):
                return "failed", json.dumps({"code": 7, "message": str(error)}).encode()
            text = "an error" if self.has("failure-untold") else str(error)
            return "failed", json.dumps({"code": "failed", "message": text}).encode()

    async def work(self, body: bytes) -> bytes:
        args = json.loads(body)
        if not isinstance(args, dict):
            if self.has("dies-of-malformed"):
                sys.stdout.write("TypeError: args must be an object\n")
                sys.stdout.flush()
                os._exit(1)
            raise ValueError("args must be an object")
        if not self.has("at-once"):
            await asyncio.sleep(args.get("seconds", 0))
        if "fail" in args:
            raise RuntimeError(args["fail"])
        if self.has("no-json"):
            return str(args).encode()
        if self.has("encoded-twice"):
            return json.dumps(body.decode()).encode()
        if self.has("garbled"):
            return body.decode("utf-8").encode("ascii", "replace")
        if self.has("rounded"):
            return json.dumps(json.loads(body, parse_int=float)).encode()
        return body

    async def watch(self, token: str, running: Running) -> None:
        """Say that a job has started, and take a lease if it takes long."""
        await asyncio.sleep(1.6 if self.has("late-started") else 0.05)
        if not self.has("no-started"):
            body = b'{"worker": 7}' if self.has("invalid-started") else self.naming("started")
            await self.report("started", body, token)
        if self.has("no-lease"):
            return
        await asyncio.sleep(self.settings.get("lease_after", 60.0))
        await self.lease(token, running)

    async def lease(self, token: str, running: Running) -> None:
        if self.has("ack-before-lease"):
            await self.settle(running.message, "ack")
        if self.has("lease-unanswered"):
            await self.ask_about(token, "lease", wait=False, reply_to=None)
            return
        answer = await self.ask_about(token, "lease")
        verdict, body = answer or ("", {})
        if verdict != "accepted":
            running.stop()
            return
        running.is_leased = True
        await self.settle(running.message, "ack")
        share = 1.3 if self.has("slow-heartbeats") else 0.25
        while not (self.has("no-heartbeats") or running.work.done()):
            await asyncio.sleep(body["lease"] * share)
            if self.has("heartbeats-unanswered"):
                await self.ask_about(token, "heartbeat", wait=False, reply_to=None)
                continue
            with suppress(*LOST):
                await self.connected.wait()
                answer = await self.ask_about(token, "heartbeat")
                if not (answer and answer[0] == "accepted") and not self.has("ignores-stale"):
                    running.stop()
                    return

    async def drop(self, message: DeliveredMessage, token: str) -> None:
        """Give back a job unrun."""
        if self.has("keeps-canceled"):
            return
        if not self.has("no-released"):
            await self.report("released", b"{}", token)
        await self.settle(message, "ack")

    async def drop_canceled(self, running: Running, token: str) -> None:
        """Tell of a job that was stopped."""
        if self.has("requeues-canceled"):
            await self.settle(running.message, "requeue")
            return
        if self.has("finished-after-cancel"):
            await self.report("finished", b"null", token)
        elif self.has("cancels-as-failed"):
            await self.report("failed", b'{"code": "canceled"}', token)
        elif not self.has("no-released"):
            await self.report("released", b"{}", token)
        if not running.is_leased:
            await self.settle(running.message, "ack")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fault", default="")
    parser.add_argument("--type", default="rehearsal")
    parser.add_argument("--concurrency", type=int, default=4)
    given = parser.parse_args()
    asyncio.run(WrongWorker(given.type, given.fault, given.concurrency).run())
    raise SystemExit({"exit-code": 3, "killed-when-done": 143}.get(given.fault, 0))


if __name__ == "__main__":
    main()
