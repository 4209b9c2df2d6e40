"""The AsyncAPI project's own parser has nothing to say against our document."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from examples.languages.building import built, run
from tests.languages.toolchains import NODE, need
from tests.support.asyncapi.document import as_yaml
from tests.support.asyncapi.operations import operations
from tests.support.generated import ASYNCAPI, NAMES
from tests.support.waiting import TIMEOUT_FACTOR

PARSER = Path(__file__).parent / "asyncapi_parser"


def parse(*documents: Path) -> list[dict[str, Any]]:
    """Return what the parser finds in each document: its operations, and what is wrong."""
    need(NODE)
    with built(PARSER) as (folder, done):
        if not done:
            shutil.copytree(PARSER, folder, dirs_exist_ok=True)
            run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    command = ["node", folder / "parse.js", *documents]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60 * TIMEOUT_FACTOR)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_the_parser_finds_nothing_wrong_but_mistakes_that_are_made(tmp_path: Path) -> None:
    text = as_yaml(NAMES)
    mistakes = [
        text.replace("action: receive", "action: take", 1),
        text.replace("is: queue", "is: pipe", 1),
        text.replace("#/channels/parked/messages/parked'", "#/channels/parked/messages/gone'"),
    ]
    paths = [ASYNCAPI]
    for number, mistaken in enumerate(mistakes):
        assert mistaken != text
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(mistaken)

    (ours, *others) = parse(*paths)

    worse = [each for each in ours["found"] if each["severity"] in {"error", "warning"}]
    assert worse == []
    assert ours["operations"] == len(operations())
    for other in others:
        assert "error" in {each["severity"] for each in other["found"]}
