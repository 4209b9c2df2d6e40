"""Options of jobs: one list of them, taken by every call that makes a job."""

from __future__ import annotations

import inspect

import pytest

from broker_queue import (
    FailureCode,
    Graph,
    JobError,
    JobOptions,
    JobQueue,
    ResultReference,
    sync,
)
from broker_queue.graph import new_job, new_job_id
from broker_queue.running import Job


def test_the_typed_options_are_those_that_a_job_takes() -> None:
    keywords = [
        name
        for name, parameter in inspect.signature(new_job).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    assert list(JobOptions.__annotations__) == keywords


@pytest.mark.parametrize("call", [JobQueue.enqueue, sync.JobQueue.enqueue, Graph.add, Job.add])
def test_every_call_that_makes_a_job_takes_the_same(call: object) -> None:
    parameters = inspect.signature(call).parameters
    assert list(parameters) == ["self", "type", "args", "dependencies", "options"]
    assert {item.kind for item in list(parameters.values())[:4]} == {
        inspect.Parameter.POSITIONAL_OR_KEYWORD
    }


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(TypeError, match="'max_attempt'"):
        Graph().add("a", max_attempt=3)


def test_what_stands_for_a_job_can_be_extended() -> None:
    graph = Graph()
    first = graph.add("a")
    graph.extend(first, references={"/x": ResultReference(new_job_id())})
    graph.extend(first.id)
    assert {extension.job for extension in graph.extensions} == {first.id}


def test_a_job_error_without_a_code_has_the_one_in_the_list() -> None:
    assert JobError("no").code == FailureCode.FAILED
