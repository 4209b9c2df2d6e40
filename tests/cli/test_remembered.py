"""What ``last`` means."""

from __future__ import annotations

import json
from pathlib import Path

from broker_queue.cli.remembered import MAX_PLACES, Remembered, recall, remember, state_file


def test_the_last_thing_made_is_remembered_for_each_place() -> None:
    remember("amqp://a/ bq", "job", "1")
    remember("amqp://b/ bq", "graph", "2")
    remember("amqp://a/ bq", "job", "3")
    assert recall("amqp://a/ bq") == Remembered("job", "3")
    assert recall("amqp://b/ bq") == Remembered("graph", "2")
    assert recall("amqp://c/ bq") is None


def test_only_so_many_places_are_kept() -> None:
    for number in range(MAX_PLACES + 5):
        remember(f"place {number}", "job", str(number))
    assert recall("place 0") is None
    assert recall(f"place {MAX_PLACES + 4}") is not None


def test_a_broken_file_is_no_error() -> None:
    remember("a", "job", "1")
    for content in (
        "{",
        "[]",
        '{"a": 1}',
        '{"a": {"kind": "x", "id": "1"}}',
        '{"a": {"kind": "job"}}',
    ):
        state_file().write_text(content)
        assert recall("a") is None
    remember("a", "job", "2")
    assert recall("a") == Remembered("job", "2")


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(file))
    remember("a", "job", "1")
    assert recall("a") is None


def test_the_file_is_where_xdg_says(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    remember("a", "job", "1")
    assert json.loads((tmp_path / "broker-queue" / "last.json").read_text()) == {
        "a": {"kind": "job", "id": "1"}
    }
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert state_file() == tmp_path / "home/.local/state/broker-queue/last.json"
