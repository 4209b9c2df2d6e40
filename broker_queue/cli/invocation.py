"""What every command is given, and the frame that every command runs in.

`command` registers a function with typer: it adds the options that all commands share, builds the
`Invocation`, runs the function (in an event loop if it is a coroutine), and turns errors into one
clear line and an exit code.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker_queue.address import (
    DEFAULT_NAMESPACE,
    NAMESPACE_VARIABLE,
    URL_VARIABLE,
    find_namespace,
    find_url,
    names_of,
)
from broker_queue.cli import limits
from broker_queue.cli.arguments import given_text
from broker_queue.cli.exit_codes import ExitCode, exit_code_for
from broker_queue.cli.help_text import Command
from broker_queue.cli.refusals import without_position
from broker_queue.errors import BrokerQueueError, ConfigurationError, Unavailable

if TYPE_CHECKING:
    from broker_queue.cli.output import Format, Output
    from broker_queue.client import JobQueue
    from broker_queue.protocol.names import Names

TIMEOUT_VARIABLE = "BROKER_QUEUE_TIMEOUT"

DEFAULT_TIMEOUT = 30.0
"""Seconds for one answer of the scheduler."""

CONNECTION_PANEL = "Connection and output"

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help=f"Broker: amqp://user:password@host:port/vhost. [env: {URL_VARIABLE}]",
        parser=given_text,
        rich_help_panel=CONNECTION_PANEL,
        show_default=False,
    ),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        metavar="NAME",
        help=f"First part of all queue names. [env: {NAMESPACE_VARIABLE}] [default: {DEFAULT_NAMESPACE}]",
        parser=given_text,
        rich_help_panel=CONNECTION_PANEL,
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print JSON, for programs.", rich_help_panel=CONNECTION_PANEL),
]
QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print only what a script would read.",
        rich_help_panel=CONNECTION_PANEL,
    ),
]
DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", help="Log to standard error; show tracebacks.", rich_help_panel=CONNECTION_PANEL
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The shared options as given; None and False mean: not given here."""

    url: str | None = None
    namespace: str | None = None
    timeout: float | None = None
    json: bool = False
    quiet: bool = False
    debug: bool = False

    def over(self, earlier: Options) -> Options:
        """Return these options, with `earlier` (given before the command) where nothing is said."""
        return Options(
            url=self.url or earlier.url,
            namespace=self.namespace or earlier.namespace,
            timeout=self.timeout if self.timeout is not None else earlier.timeout,
            json=self.json or earlier.json,
            quiet=self.quiet or earlier.quiet,
            debug=self.debug or earlier.debug,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """Where a command connects, and where it shows things.

    Attributes:
        url: of the broker, with its password.
        url_source: where the URL came from, in words.
        given: the shared options as they stood on the command line itself.
    """

    url: str
    url_source: str
    namespace: str
    timeout: float
    format: Format
    debug: bool
    output: Output
    given: Options

    @property
    def place(self) -> str:
        """Names the broker and namespace without a password: what ``last`` is kept under."""
        return f"{self.address} {self.namespace}"

    @property
    def address(self) -> str:
        """The URL without its password."""
        return without_password(self.url)

    @property
    def names(self) -> Names:
        """The queues of the namespace.

        Raises:
            ConfigurationError: it is no name for a namespace.
        """
        return names_of(self.namespace)

    def queue(self) -> JobQueue:
        """Return a client that is not connected yet: ``async with run.queue() as queue``."""
        from broker_queue.client import JobQueue  # slow to import

        return JobQueue(
            self.url, namespace=self.names.namespace, timeout=self.timeout, name="command line"
        )


def without_password(url: str) -> str:
    """Return a broker's URL as it may be shown."""
    from broker_queue.amqp.connection import parse_url  # slow to import

    return str(parse_url(url).with_password(None).with_query(None))


def make_invocation(options: Options) -> Invocation:
    """Return the invocation for these options, the environment and the defaults."""
    from broker_queue.cli.output import Format  # slow to import

    kind = Format.JSON if options.json else Format.QUIET if options.quiet else Format.TABLE
    return Invocation(
        url=find_url(options.url),
        url_source=_url_source(options.url),
        namespace=find_namespace(options.namespace),
        timeout=options.timeout if options.timeout is not None else _timeout_from_environment(),
        format=kind,
        debug=options.debug,
        output=make_output(kind),
        given=options,
    )


def make_output(kind: Format) -> Output:
    """Return the output of a format."""
    from broker_queue.cli.output import Format, JsonOutput, QuietOutput  # slow to import

    if kind is Format.JSON:
        return JsonOutput()
    if kind is Format.QUIET:
        return QuietOutput()
    from broker_queue.cli.tables import TableOutput  # rich is slow to import

    return TableOutput()


def command(app: typer.Typer, name: str, *, panel: str, **settings: Any) -> Callable[..., Any]:
    """Register ``function(run: Invocation, …)`` as the command `name`.

    The function returns an `ExitCode`, or None for success.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        app.command(name, cls=Command, rich_help_panel=panel, **settings)(
            _with_shared_options(function)
        )
        return function

    return register


def _shared(
    ctx: typer.Context,
    *,
    url: UrlOption = None,
    namespace: NamespaceOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> Options:
    """Return the shared options of a command over those given before it."""
    here = Options(url=url, namespace=namespace, json=json, quiet=quiet, debug=debug)
    return here.over(ctx.obj if isinstance(ctx.obj, Options) else Options())


def _with_shared_options(function: Callable[..., Any]) -> Callable[..., Any]:
    shared = inspect.signature(_shared, eval_str=True).parameters
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    def entry(**arguments: Any) -> None:
        options = _shared(**{name: arguments.pop(name) for name in shared})
        raise typer.Exit(execute(function, options, arguments))

    # Typer reads the signature. Given by name, the order of parameters means nothing to Python.
    parameters = [item.replace(kind=item.KEYWORD_ONLY) for item in (*own, *shared.values())]
    entry.__name__, entry.__doc__ = function.__name__, function.__doc__
    entry.__annotations__ = {item.name: item.annotation for item in parameters}
    entry.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typing does not know it
    return entry


def execute(function: Callable[..., Any], options: Options, arguments: dict[str, Any]) -> ExitCode:
    """Run a command and return its exit code; what goes wrong becomes one line."""
    try:
        run = make_invocation(options)
    except BrokerQueueError as error:
        print(f"Error: {error}", file=sys.stderr)  # there is no output yet
        return exit_code_for(error)
    _configure_logging(run.debug)
    try:
        found = function(run, **arguments)
        if inspect.iscoroutine(found):
            import asyncio  # slow to import, and --help needs none

            found = asyncio.run(found)
        return found if isinstance(found, ExitCode) else ExitCode.OK
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokerQueueError as error:
        _show_error(run, error)
        return exit_code_for(error)
    except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
        raise
    except Exception as error:  # a defect: still one line, unless --debug
        if run.debug:
            raise
        text = f"{type(error).__name__}: {error} (a defect; --debug shows where)"
        run.output.error(BrokerQueueError(text))
        return ExitCode.INTERNAL


def _show_error(run: Invocation, error: BrokerQueueError) -> None:
    import logging

    if run.debug:
        logging.getLogger(__name__).error("failed", exc_info=error)
    run.output.error(without_position(error))
    if isinstance(error, Unavailable):
        run.output.note("`broker-queue doctor` looks at every part on the way.")


def _configure_logging(debug: bool) -> None:
    import logging

    level = logging.DEBUG if debug else logging.CRITICAL + 1
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")


def _url_source(given: str | None) -> str:
    if given:
        return "from --url"
    return f"from {URL_VARIABLE}" if os.environ.get(URL_VARIABLE) else "the default"


def _timeout_from_environment() -> float:
    from broker_queue.cli.durations import parse_duration

    text = os.environ.get(TIMEOUT_VARIABLE)
    if not text:
        return DEFAULT_TIMEOUT
    try:
        return limits.span(parse_duration(text), above_zero=True)
    except ValueError as error:
        raise ConfigurationError(f"{TIMEOUT_VARIABLE}: {error}") from None
