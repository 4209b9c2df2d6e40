"""The command line ``broker-queue``.

``app`` puts the commands together, ``commands/`` has them by topic, ``invocation`` is the frame
that each runs in, ``output`` says what can be shown, ``exit_codes`` what the exit code means. What
is slow to import is imported by the command that needs it.
"""

from __future__ import annotations

import os
import sys

COMMAND = (sys.executable, "-c", "import sys; from broker_queue.cli import main; sys.exit(main())")
"""Starts the command line in another process, with this Python, wherever its script lies."""


def main() -> int:
    """Run the command line and return its exit code (entry point of the console script)."""
    import typer  # importing this package stays free

    from broker_queue.cli.app import make_app
    from broker_queue.cli.exit_codes import ExitCode

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without UTF-8
    try:
        code = make_app()(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's usage errors have no public base class
            raise
        print(_usage_text(error), file=sys.stderr)
        return ExitCode.INVALID
    return int(code or 0)


def _usage_text(error: Exception) -> str:
    """Return a usage error in one line, with the command that explains more."""
    context = getattr(error, "ctx", None)
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    if context is None:
        return f"Error: {text}"
    text = text.replace("Value error, ", "")  # pydantic's, out of typer
    more = " See" if text.endswith("?") else "; see"
    return f"Error: {text.rstrip('.')}{more} {context.command_path} --help"
