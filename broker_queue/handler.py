"""A registered function: how its args are read and its result written."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError

from broker_queue.errors import ConfigurationError, JobError
from broker_queue.job import FailureCode
from broker_queue.protocol.codec import RawJson, to_json

if TYPE_CHECKING:
    from broker_queue.running import Job

JobFunction = Callable[..., Any]

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Handler:
    """Runs the jobs of one type with one function.

    A parameter called ``job`` gets the `Job`. If one parameter is left, it takes the whole args, by
    its annotation (a pydantic model, a dataclass, any type that pydantic checks; none: plain JSON).
    If there are more, the args must be an object whose members have their names.

    Args:
        function: a coroutine function, or a plain one, which runs in a thread.

    Raises:
        ConfigurationError: its parameters or annotations cannot be used.
    """

    def __init__(self, function: JobFunction) -> None:
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.name = getattr(function, "__name__", type(function).__name__)
        hints = _hints(function, self.name)
        parameters = list(inspect.signature(function).parameters.values())
        for parameter in parameters:
            if parameter.kind not in _NAMED:
                raise ConfigurationError(
                    f"job function {self.name}: parameter {parameter} cannot be used; "
                    "name each parameter"
                )
        self._wants_job = any(parameter.name == "job" for parameter in parameters)
        self._parameters = [item for item in parameters if item.name != "job"]
        try:
            self._reader = self._make_reader(hints)
            self._result = _adapter(hints.get("return", Any))
        except PydanticSchemaGenerationError as error:
            raise ConfigurationError(
                f"job function {self.name}: pydantic cannot check an annotation: "
                f"{str(error).splitlines()[0]}"
            ) from None

    def read(self, body: bytes, job: Job) -> dict[str, Any]:
        """Return the keyword arguments for the function.

        Raises:
            JobError: the args are not what the function takes; trying again is of no use.
        """
        keywords: dict[str, Any] = {"job": job} if self._wants_job else {}
        try:
            return keywords | self._reader(body)
        except ValidationError as error:
            text = f"the args are not what {self.name}() takes: {_problems(error)}"
        except ValueError as error:
            text = f"the args are no JSON: {error}"
        raise JobError(text, code=FailureCode.INVALID_ARGS, retry=False)

    def write(self, result: Any) -> bytes:
        """Return the result as JSON text.

        Raises:
            JobError: it is not what the function promises, or has no JSON form.
        """
        if isinstance(result, RawJson):
            return bytes(result)
        try:
            checked = self._result.validate_python(result)
            return to_json(self._result.dump_python(checked, mode="json"), "result")
        except ValidationError as error:
            text = f"the result is not what {self.name}() promises: {_problems(error)}"
        except Exception as error:  # pydantic's serialisation errors have no common base
            text = f"the result of {self.name}() cannot be sent: {error}"
        raise JobError(text, code=FailureCode.INVALID_RESULT, retry=False)

    def _make_reader(self, hints: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
        if not self._parameters:
            return lambda _body: {}
        if len(self._parameters) == 1:
            name = self._parameters[0].name
            if name not in hints:
                return lambda body: {name: json.loads(body)}
            if hints[name] is RawJson:
                return lambda body: {name: RawJson(body)}
            adapter = _adapter(hints[name])
            return lambda body: {name: adapter.validate_json(body)}
        fields: dict[str, Any] = {
            item.name: (
                hints.get(item.name, Any),
                ... if item.default is inspect.Parameter.empty else item.default,
            )
            for item in self._parameters
        }
        model = create_model("Args", __config__=ConfigDict(extra="forbid"), **fields)
        return lambda body: _members(model.model_validate_json(body))


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    unchecked = annotation is None or annotation is RawJson
    return TypeAdapter[Any](Any if unchecked else annotation)


def _members(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields}


def _hints(function: JobFunction, name: str) -> dict[str, Any]:
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"job function {name}: an annotation cannot be resolved: {error}; "
            "define the type at the top of its module"
        ) from None
    hints.pop("job", None)
    return hints


def _problems(error: ValidationError) -> str:
    listed = [
        f"{'.'.join(map(str, item['loc'])) or 'args'}: {item['msg']}" for item in error.errors()[:5]
    ]
    more = error.error_count() - len(listed)
    return "; ".join(listed) + (f"; and {more} more" if more > 0 else "")
