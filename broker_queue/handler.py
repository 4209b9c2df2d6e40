"""A registered function: how its args are read and its result written."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model
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

    A parameter called ``job`` gets the `Job`. If one parameter is left, it takes the whole args if
    they fit its annotation (a pydantic model, a dataclass, any type that pydantic checks; none:
    plain JSON). If they do not, and if there are several parameters, the args are an object whose
    members have the names of the parameters. Args that are null count as an empty object then.

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
        except _Unfit as unfit:
            problems = _problems(unfit.error)
            text = f"the args are not what {self.name}() takes: {problems}; {unfit.rule}"
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
            text = to_json(self._result.dump_python(checked, mode="json"), "result")
            if b"null" in text:  # which pydantic also writes for NaN and infinity
                json.dumps(self._result.dump_python(checked), allow_nan=False, default=str)
            return text
        except ValidationError as error:
            problem = f"is not what {self.name}() promises: {_problems(error, 'result')}"
        except Exception as error:  # pydantic's serialisation errors have no common base
            problem = f"of {self.name}() cannot be sent: {error}"
        raise JobError(f"the result {problem}", code=FailureCode.INVALID_RESULT, retry=False)

    def _make_reader(self, hints: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
        if not self._parameters:
            return lambda _body: {}
        if len(self._parameters) > 1:
            return _ByName(self._parameters, hints).read
        name = self._parameters[0].name
        if name not in hints:
            return lambda body: {name: json.loads(body)}
        if hints[name] is RawJson:
            return lambda body: {name: RawJson(body)}
        return _WholeOrMember(_adapter(hints[name]), _ByName(self._parameters, hints), name).read


class _ByName:
    """Reads args as an object whose members have the names of the parameters."""

    def __init__(self, parameters: list[inspect.Parameter], hints: dict[str, Any]) -> None:
        # The fields have names of their own: a parameter may be called as a method of the model.
        self._names = {f"parameter_{index}": item.name for index, item in enumerate(parameters)}
        fields: dict[str, Any] = {
            field: (hints.get(item.name, Any), _field(item))
            for field, item in zip(self._names, parameters, strict=True)
        }
        self._model = create_model("Args", __config__=ConfigDict(extra="forbid"), **fields)

    def read(self, body: bytes) -> dict[str, Any]:
        """Return what was given; Python knows the defaults of the others."""
        model = self._model.model_validate_json(b"{}" if _is_null(body) else body)
        return {self._names[field]: getattr(model, field) for field in model.model_fields_set}


class _WholeOrMember:
    """Reads args for the only parameter, called `name`."""

    def __init__(self, whole: TypeAdapter[Any], by_name: _ByName, name: str) -> None:
        self._whole = whole
        self._by_name = by_name
        self._name = name

    def read(self, body: bytes) -> dict[str, Any]:
        try:
            return {self._name: self._whole.validate_json(body)}
        except ValidationError as error:
            whole = error
        if not _is_null(body) and not body.lstrip().startswith(b"{"):
            raise _Unfit(whole, self._name)
        try:
            return self._by_name.read(body)
        except ValidationError as error:
            raise _Unfit(self._nearer(body, whole, error), self._name) from None

    def _nearer(
        self, body: bytes, whole: ValidationError, by_name: ValidationError
    ) -> ValidationError:
        """Return the error of the reading that was more likely meant."""
        if _is_null(body):
            return whole
        is_no_object = any(not item["loc"] for item in whole.errors())
        return by_name if is_no_object or self._name in json.loads(body) else whole


class _Unfit(Exception):
    """Neither reading fits; `error` is that of the nearer one."""

    def __init__(self, error: ValidationError, name: str) -> None:
        super().__init__()
        self.error = error
        self.rule = f"its one parameter takes the whole args, or the member {name!r} of an object"


def _field(parameter: inspect.Parameter) -> Any:
    is_required = parameter.default is inspect.Parameter.empty
    return Field(... if is_required else None, alias=parameter.name)


def _is_null(body: bytes) -> bool:
    return body.strip() == b"null"


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    unchecked = annotation is None or annotation is RawJson
    return TypeAdapter[Any](Any if unchecked else annotation)


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


def _problems(error: ValidationError, whole: str = "args") -> str:
    listed = [
        f"{'.'.join(map(str, item['loc'])) or whole}: {item['msg']}" for item in error.errors()[:5]
    ]
    more = error.error_count() - len(listed)
    return "; ".join(listed) + (f"; and {more} more" if more > 0 else "")
