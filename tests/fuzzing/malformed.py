"""Messages that keep no protocol, by the thousand: from a seed, so that each run can be repeated."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import uuid4

from broker_queue.amqp.channel import Outgoing
from broker_queue.protocol.names import REPLY_TO_DIRECT, REPORTS_KEY, REQUESTS_KEY, Names
from broker_queue.protocol.operations import REQUESTS
from broker_queue.protocol.reports import REPORTS
from tests.support.job_messages import WRONG_HEADERS


class Fate(StrEnum):
    """What must become of a message."""

    ANSWERED = "answered"
    PARKED = "parked"
    IGNORED = "ignored"
    """By a worker, which has nobody to tell."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message, and what must become of it."""

    message: Outgoing
    fate: Fate


class Malice:
    """Draws malformed messages for every queue that the scheduler and a worker read.

    Args:
        seed: of the random numbers.
        names: of the namespace.
        job_type: of which a worker runs.
        tokens: real ones, to be bent.
    """

    def __init__(self, seed: int, names: Names, job_type: str, tokens: list[str]) -> None:
        self._random = random.Random(seed)
        self._names = names
        self._job_type = job_type
        self._tokens = tokens

    def __iter__(self) -> Iterator[Malformed]:
        kinds: list[Callable[[], Malformed]] = [
            self._request,
            self._silent_request,
            self._report,
            self._batch,
            self._dead_letter,
            self._control,
            self._job,
        ]
        while True:
            yield self._random.choice(kinds)()

    def _request(self) -> Malformed:
        """One whose sender waits for an answer: wrong or, by chance, right."""
        operation = self._random.choice([*REQUESTS, self._text(), None])
        address = {"reply_to": REPLY_TO_DIRECT, "correlation_id": f"fuzz-{uuid4().hex}"}
        if self._random.random() < 0.5:
            address["message_id"] = self._text()
        return self._made("requests", operation, self._body(), Fate.ANSWERED, **address)

    def _silent_request(self) -> Malformed:
        """One that cannot be answered: nobody is named, or somebody who must not be written to."""
        address = self._random.choice(
            [{}, {"reply_to": self._names.jobs}, {"reply_to": "amq.gen"}, {"reply_to": "é" * 100}]
        )
        if not address:
            if self._random.random() < 0.5:  # else by chance a job, or several
                return self._made("requests", None, self._broken(), Fate.PARKED)
            return self._made("requests", f"no-{self._word()}", self._body(), Fate.PARKED)
        operation = self._random.choice([*REQUESTS, self._text()])
        return self._made("requests", operation, self._body(), Fate.PARKED, **address)

    def _report(self) -> Malformed:
        kind = self._random.choice([*(name for name in REPORTS if name != "batch"), None, "x"])
        return self._made("reports", kind, self._body(), Fate.PARKED, correlation_id=self._token())

    def _batch(self) -> Malformed:
        items = [
            self._random.choice([{"token": self._token() or "", "type": "started"}, self._value()])
            for _ in range(self._random.randint(1, 5))
        ]
        whole = json.dumps(items).encode()
        body = self._random.choice([whole, self._broken(), b"", b"{}", whole[:-1]])
        return self._made("reports", "batch", body, Fate.PARKED)

    def _dead_letter(self) -> Malformed:
        reason = self._random.choice(["delivery_limit", "rejected", "{0}", self._text()])
        return self._made(
            "dead",
            self._text(),
            self._body(),
            Fate.PARKED,
            correlation_id=self._token(),
            headers={"x-first-death-reason": reason, "x-delivery-count": self._header()},
        )

    def _control(self) -> Malformed:
        kind = self._random.choice(["cancel", "stop", self._text(), None])
        body = self._random.choice([self._body(), b'{"tokens": ["no token of yours"]}'])
        return self._made("control", kind, body, Fate.IGNORED, routing_key=self._job_type)

    def _job(self) -> Malformed:
        """What a worker cannot read, rejects, and the scheduler finds among the dead."""
        right = {"protocol": 1, "attempt": 1, "max_attempts": 1, "dependency_count": 0}
        headers = self._random.choice([{}, {"protocol": self._header() or "x"}])
        if self._random.random() < 0.7:
            headers = right | self._random.choice(WRONG_HEADERS)
        return self._made(
            "jobs",
            self._job_type,
            self._body(),
            Fate.PARKED,
            routing_key=self._job_type,
            headers=headers,
            correlation_id=self._token(),
            message_id=self._random.choice([str(uuid4()), self._text()]),
        )

    def _made(
        self, where: str, kind: str | None, body: bytes, fate: Fate, **properties: Any
    ) -> Malformed:
        key = {"requests": REQUESTS_KEY, "reports": REPORTS_KEY}.get(where, "")
        given: dict[str, Any] = {
            "exchange": getattr(self._names, where),
            "routing_key": key,
            "type": kind,
            "headers": {self._word(): self._header() for _ in range(self._random.randint(0, 3))},
            "priority": self._random.choice([None, 0, 255]),
            "content_type": self._random.choice(["application/json", "text/plain", self._text()]),
            "persistent": self._random.random() < 0.5,
            "timestamp": self._random.choice([None, 0, 1 << 33]),
            "mandatory": False,
        }
        return Malformed(Outgoing(body=body, **given | properties), fate)

    def _token(self) -> str | None:
        """Return no token, or one that is forged: a real one with one character changed."""
        token = self._random.choice(self._tokens)
        place = self._random.randrange(len(token))
        other = "Q" if token[place] != "Q" else "R"
        bent = token[:place] + other + token[place + 1 :]
        return self._random.choice([None, self._text(), bent, bent, token[:-1], token + "A", "..."])

    def _body(self) -> bytes:
        made = self._random.choice(
            [self._broken, self._valid, self._deep, self._large, self._misfit, self._misfit]
        )
        return made()

    def _broken(self) -> bytes:
        return self._random.choice(
            [
                self._random.randbytes(self._random.randint(1, 300)),
                b'{"jobs": [',
                b'"\xff\xfe"',
                b'"\\ud800"',
                b"\xef\xbb\xbf{}",
                b"NaN",
                b"{'a': 1}",
                b"\0",
                b" ",
                b'{"a": 1} {"b": 2}',
            ]
        )

    def _valid(self) -> bytes:
        return json.dumps(self._value()).encode()

    def _deep(self) -> bytes:
        levels = self._random.choice([10, 899, 1_100, 20_000])
        return b"[" * levels + b"]" * levels

    def _large(self) -> bytes:
        return b'{"jobs": [' + b"0, " * self._random.choice([100, 5_000]) + b"0]}"

    def _misfit(self) -> bytes:
        """Fields of the protocol with values of the wrong kind, or nearly right."""
        fields = ["jobs", "job", "graph", "timeout", "types", "channels", "worker", "limit", "part"]
        fields += ["extend", "states", "dependencies", "result", "code", "fraction", "tokens"]
        count = self._random.randint(0, 4)
        chosen = self._random.sample(fields, count)
        return json.dumps({name: self._value() for name in chosen}).encode()

    def _value(self) -> Any:
        return self._random.choice(
            [
                None,
                True,
                0,
                -1,
                1 << 70,
                1e308,
                "",
                "\0",
                self._text(),
                str(uuid4()),
                [],
                [[]],
                [str(uuid4())],
                {},
                {"id": str(uuid4())},
                [{"id": str(uuid4()), "type": self._word(), "dependencies": [0]}],
                [{"job": 7}],
            ]
        )

    def _header(self) -> Any:
        return self._random.choice(
            [
                None,
                True,
                -1,
                1 << 62,
                0.5,
                "text",
                bytearray(b"\xff\0"),
                Decimal("1.5"),
                datetime(2020, 1, 1, tzinfo=UTC),
                [1, "a", None],
                {"a": {"b": [{"c": None}]}},
            ]
        )

    def _text(self) -> str:
        """Text that fits a short string of AMQP, which has 255 bytes."""
        alphabet = self._random.choice(["ab.:-_", "\0\n\t'\"\\{}%s", "äß€𝄞\u202e"])
        length = self._random.choice([0, 1, 20, 60])
        return "".join(self._random.choices(alphabet, k=length))

    def _word(self) -> str:
        return "".join(self._random.choices("abcdefgh", k=self._random.randint(1, 12)))
