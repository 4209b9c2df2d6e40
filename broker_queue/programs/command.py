"""The command line of a program that is started for somebody: looked at before anything else is done."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from broker_queue.errors import ConfigurationError


def check_command(command: Sequence[str]) -> None:
    """Return if a command can be started.

    Raises:
        ConfigurationError: there is no such program.
    """
    program = command[0]
    if shutil.which(program) is not None:
        return
    text = f"there is no program {program!r}, or it is not executable"
    if shutil.which(f"./{program}") is not None:  # by its name alone, it is looked for in PATH only
        text += f"; did you mean ./{program}?"
    raise ConfigurationError(text)
