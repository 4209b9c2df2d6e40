"""Help texts, usage errors, options that all commands share."""

from __future__ import annotations

import pytest
import typer

from broker_queue.cli.app import make_app
from broker_queue.cli.invocation import Options, make_invocation
from tests.cli.conftest import CommandLine

COMMANDS = sorted(typer.main.get_command(make_app()).commands)  # type: ignore[attr-defined]
OWN_OPTIONS = ("scheduler",)
"""Commands whose options are another program's."""


def test_all_commands_are_there(command_line: CommandLine) -> None:
    found = command_line("--help")
    assert found.code == 0
    assert (
        sorted(
            [
                "backup",
                "cancel",
                "completion",
                "conformance",
                "dev",
                "doctor",
                "enqueue",
                "exec",
                "explain",
                "graph",
                "graphs",
                "list",
                "restore",
                "retry",
                "scheduler",
                "status",
                "submit",
                "version",
                "wait",
                "watch",
                "worker",
                "workers",
            ]
        )
        == COMMANDS
    )
    for name in COMMANDS:
        assert f"\n  {name} " in found.out


def test_without_a_command_the_help_is_shown(command_line: CommandLine) -> None:
    assert command_line().out == command_line("--help").out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in OWN_OPTIONS])
def test_every_command_takes_the_shared_options(command_line: CommandLine, name: str) -> None:
    found = command_line(name, "--help")
    assert found.code == 0
    for option in ("--url", "--namespace", "--json", "--quiet", "--debug"):
        assert option in found.out
    for internal in ("ctx", "<str>", "[required]"):
        assert internal not in found.out


@pytest.mark.parametrize("name", ["", *(name for name in COMMANDS if name not in OWN_OPTIONS)])
def test_no_line_of_the_help_is_wider_than_a_terminal(command_line: CommandLine, name: str) -> None:
    found = command_line(*name.split(), "--help")
    assert max(map(len, found.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["enqueu"],
            "Error: No such command 'enqueu'. Did you mean 'enqueue'? See broker-queue --help",
        ),
        (["list", "--bogus"], "Error: No such option: --bogus; see broker-queue list --help"),
        (["status"], "Error: Missing argument 'JOB...'; see broker-queue status --help"),
        (["list", "--state", "bogus"], "Error: Invalid value for '--state': 'bogus' is not one of"),
        (["--timeout", "x", "list"], "Error: Invalid value for '--timeout': 'x' is no duration"),
        (
            ["--timeout", "0", "list"],
            "Error: Invalid value for '--timeout': must be longer than 0 s",
        ),
        (["--url", "", "list"], "Error: Invalid value for '--url': it is empty"),
        (["list", "--url", ""], "Error: Invalid value for '--url': it is empty"),
        (["list", "--namespace", ""], "Error: Invalid value for '--namespace': it is empty"),
        *(
            (
                [*arguments, given],
                f"Error: Invalid value for '{arguments[-1]}': expected a whole number from {least} "
                f"to {most}, got '{given}'",
            )
            for arguments, least, most, given in (
                (["list", "--limit"], 1, "1,000", "0"),
                (["graphs", "--limit"], 1, "1,000", "many"),
                (["list", "--before"], 0, "9,007,199,254,740,992", "-1"),
                (["enqueue", "a", "--priority"], 0, "9", "10"),
                (["enqueue", "a", "--max-attempts"], 1, "1,000", "1.5"),
                (["worker", "jobs:worker", "--concurrency"], 1, "10,000", "0"),
                (["exec", "a", "--concurrency"], 1, "10,000", "10001"),
                (["exec", "a", "--max-result-bytes"], 1, "134,217,728", "-5"),
            )
        ),
        *(
            (
                ["worker", "jobs:worker", f"--processes={number}"],
                "Error: Invalid value for '--processes': expected a whole number from 1 to 1,000, "
                f"or auto, got '{number}'",
            )
            for number in ("0", "-1", "1001", "2.5", "many", "")
        ),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    command_line: CommandLine, arguments: list[str], text: str
) -> None:
    found = command_line(*arguments)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(text)
    assert len(found.err.splitlines()) == 1


def test_the_url_comes_from_the_option_then_the_environment_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert make_invocation(Options()).url_source == "the default"
    monkeypatch.setenv("BROKER_QUEUE_URL", "amqp://env/")
    monkeypatch.setenv("BROKER_QUEUE_NAMESPACE", "fromenv")
    monkeypatch.setenv("BROKER_QUEUE_TIMEOUT", "2m")
    found = make_invocation(Options())
    assert (found.url, found.url_source) == ("amqp://env", "from BROKER_QUEUE_URL")
    assert (found.namespace, found.timeout) == ("fromenv", 120)
    found = make_invocation(Options(url="amqp://option/", namespace="given", timeout=1))
    assert (found.url, found.url_source) == ("amqp://option", "from --url")
    assert (found.namespace, found.timeout) == ("given", 1)


def test_options_after_the_command_win_over_those_before_it() -> None:
    before = Options(url="amqp://before/", namespace="n", json=True, timeout=3)
    after = Options(url="amqp://after/").over(before)
    assert after == Options(url="amqp://after/", namespace="n", json=True, timeout=3)


def test_a_wrong_environment_is_an_error(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_QUEUE_TIMEOUT", "soon")
    found = command_line("list")
    assert found.code == 2
    assert found.err.startswith("Error: BROKER_QUEUE_TIMEOUT: 'soon' is no duration")
    monkeypatch.delenv("BROKER_QUEUE_TIMEOUT")
    found = command_line("list", "--namespace", "no spaces")
    assert (found.code, "namespace" in found.err) == (2, True)
