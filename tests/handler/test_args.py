"""What a job function gets of the args."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Optional, cast

import pytest
from pydantic import BaseModel, Field

from broker_queue.errors import JobError
from broker_queue.handler import Handler
from broker_queue.protocol.codec import RawJson
from broker_queue.running import Job

JOB = cast(Job, object())


class Build(BaseModel):
    source: str
    level: int = 1


@dataclass
class Point:
    x: int
    y: int = 0


def nothing() -> None: ...
def only_job(job: Job) -> None: ...
def text(url: str) -> None: ...
def with_default(url: str = "here") -> None: ...
def optional(url: Optional[str]) -> None: ...  # noqa: UP045  # as people write it
def numbers(values: list[int]) -> None: ...
def model(args: Build) -> None: ...
def data_class(point: Point) -> None: ...
def plain_dict(args: dict[str, Any]) -> None: ...
def anything(args: Any) -> None: ...
def unannotated(args) -> None: ...  # type: ignore[no-untyped-def]  # as people write it
def raw(args: RawJson) -> None: ...
def with_job(url: str, job: Job) -> None: ...
def short(name: Annotated[str, Field(max_length=3)]) -> None: ...
def several(url: str, folder: str = "/data") -> None: ...
def all_defaults(url: str = "u", folder: str = "/data") -> None: ...
def like_methods(json: str, copy: bool = False) -> None: ...
def like_a_method(schema: str) -> None: ...


def read(function: Callable[..., Any], args: str) -> dict[str, Any]:
    return Handler(function).read(args.encode(), JOB)


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (nothing, '{"any": "thing"}', {}),
        (only_job, "null", {"job": JOB}),
        # the whole args, if they fit
        (text, '"x"', {"url": "x"}),
        (numbers, "[1, 2]", {"values": [1, 2]}),
        (model, '{"source": "s"}', {"args": Build(source="s")}),
        (data_class, '{"x": 1}', {"point": Point(1)}),
        (plain_dict, '{"args": {"a": 1}}', {"args": {"args": {"a": 1}}}),
        (anything, '{"args": 1}', {"args": {"args": 1}}),
        (anything, "null", {"args": None}),
        (unannotated, '{"args": 1}', {"args": {"args": 1}}),
        (raw, ' {"args": 1.00}', {"args": RawJson(b' {"args": 1.00}')}),
        (optional, "null", {"url": None}),
        (optional, '"x"', {"url": "x"}),
        # else the member of its name
        (text, '{"url": "x"}', {"url": "x"}),
        (optional, '{"url": "x"}', {"url": "x"}),
        (optional, '{"url": null}', {"url": None}),
        (numbers, '{"values": [1, 2]}', {"values": [1, 2]}),
        (model, '{"args": {"source": "s"}}', {"args": Build(source="s")}),
        (data_class, '{"point": {"x": 1}}', {"point": Point(1)}),
        (plain_dict, "{}", {"args": {}}),
        (with_job, '{"url": "x"}', {"url": "x", "job": JOB}),
        (short, '{"name": "abc"}', {"name": "abc"}),
        (like_a_method, '{"schema": "s"}', {"schema": "s"}),
        # or its default
        (with_default, "null", {}),
        (with_default, " null ", {}),
        (with_default, "{}", {}),
        (with_default, '"x"', {"url": "x"}),
        # several parameters: members
        (several, '{"url": "x"}', {"url": "x"}),
        (several, '{"url": "x", "folder": "y"}', {"url": "x", "folder": "y"}),
        (all_defaults, "null", {}),
        (like_methods, '{"json": "x", "copy": true}', {"json": "x", "copy": True}),
    ],
)
def test_args_are_read(function: Callable[..., Any], args: str, expected: dict[str, Any]) -> None:
    assert read(function, args) == expected


RULE = "; its one parameter takes the whole args, or the member 'url' of an object"


@pytest.mark.parametrize(
    ("function", "args", "problem"),
    [
        (text, "1", f"text() takes: args: Input should be a valid string{RULE}"),
        (text, "null", f"text() takes: args: Input should be a valid string{RULE}"),
        (text, '{"url": 1}', f"text() takes: url: Input should be a valid string{RULE}"),
        (text, '{"ur": "x"}', f"url: Field required; ur: Extra inputs are not permitted{RULE}"),
        (text, '{"url": "x", "y": 1}', f"y: Extra inputs are not permitted{RULE}"),
        (with_default, '{"ur": "x"}', f"takes: ur: Extra inputs are not permitted{RULE}"),
        (short, '{"name": "abcd"}', "takes: name: String should have at most 3 characters; its"),
        (model, '{"origin": "s"}', "takes: source: Field required; its one parameter takes"),
        (model, '{"args": {"level": 2}}', "takes: args.source: Field required; its one"),
        (model, "[]", "takes: args: Input should be an object; its one parameter"),
        (data_class, '{"x": "one"}', "takes: x: Input should be a valid integer, unable to"),
        (several, "null", "several() takes: url: Field required"),
        (several, '{"url": "x", "z": 1}', "takes: z: Extra inputs are not permitted"),
        (several, '["x"]', "several() takes: args: Input should be an object"),
        (unannotated, "{", "the args are no JSON: "),
        (text, "{", "takes: args: Invalid JSON"),
    ],
)
def test_args_that_fit_in_no_way_are_refused_by_the_nearer_one(
    function: Callable[..., Any], args: str, problem: str
) -> None:
    with pytest.raises(JobError) as refused:
        read(function, args)
    assert problem in str(refused.value)
    assert (refused.value.code, refused.value.retry) == ("invalid_args", False)


def test_a_mutable_default_is_pythons_own() -> None:
    shared: list[int] = []

    def collect(values: list[int] = shared) -> list[int]:
        return values

    assert Handler(collect).read(b"null", JOB) == {}
