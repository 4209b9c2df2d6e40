"""Where in a job's own code something went wrong."""

from __future__ import annotations

import json
import traceback

import pytest

from broker_queue.tracebacks import where

TEXT = """Traceback (most recent call last):
  File "/srv/venv/lib/python3.12/site-packages/broker_queue/running.py", line 190, in attempt
    result = await call
             ^^^^^^^^^^
  File "/srv/app/jobs.py", line 7, in build
    return compile(args)
           ^^^^^^^^^^^^^
  File "/srv/app/compiler.py", line 3, in compile
    return 1 / 0
           ~~^~~
ZeroDivisionError: division by zero
"""


def test_the_last_frames_of_the_jobs_own_code_are_named() -> None:
    assert where(TEXT).splitlines() == [
        "/srv/app/jobs.py:7 in build",
        "    return compile(args)",
        "/srv/app/compiler.py:3 in compile",
        "    return 1 / 0",
    ]


def test_a_traceback_whose_beginning_is_cut_does_not_begin_with_markers() -> None:
    cut = TEXT[TEXT.index("             ^^^") :]
    assert where(cut) == where(TEXT)


def test_a_failure_within_a_library_is_shown_below_the_line_that_called_it() -> None:
    def parse() -> None:
        json.loads("{")

    with pytest.raises(ValueError, match="Expecting") as caught:
        parse()
    lines = where("".join(traceback.format_exception(caught.value))).splitlines()
    assert [line.strip() for line in lines if line.startswith("    ")][1] == 'json.loads("{")'
    assert "json/decoder.py" in lines[-2]


def test_of_several_errors_the_last_one_counts() -> None:
    text = TEXT + "\nDuring handling of the above exception, another exception occurred:\n\n"
    text += 'Traceback (most recent call last):\n  File "/srv/app/jobs.py", line 9, in build\n'
    assert where(text + "    raise Oops\nOops: x\n") == (
        "/srv/app/jobs.py:9 in build\n    raise Oops"
    )


def test_what_is_no_traceback_has_no_place() -> None:
    assert where("") == where("ValueError: no") == ""
    assert where('File "x.py", line 3\nSyntaxError: bad') == "x.py:3"
