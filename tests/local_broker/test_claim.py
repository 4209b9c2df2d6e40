"""A folder has one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker_queue.local_broker.claim import Claimed, claim

HOLDER = """
import sys, time
from pathlib import Path
from broker_queue.local_broker.claim import claim
with claim(Path(sys.argv[1])) as tell:
    tell(url="amqp://here/")
    print("held", flush=True)
    time.sleep(600)
"""


def held(folder: Path) -> dict[str, str]:
    with pytest.raises(Claimed) as refused, claim(folder):
        pass
    return refused.value.holder


def test_a_second_one_is_told_who_holds_it(tmp_path: Path) -> None:
    with claim(tmp_path) as tell:
        assert held(tmp_path) == {"pid": str(os.getpid())}
        tell(url="amqp://here/")
        assert held(tmp_path) == {"pid": str(os.getpid()), "url": "amqp://here/"}
    with claim(tmp_path):
        assert held(tmp_path) == {"pid": str(os.getpid())}


def test_it_is_free_once_its_holder_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert held(tmp_path) == {"pid": str(holder.pid), "url": "amqp://here/"}
        holder.kill()
        holder.wait()
    with claim(tmp_path):
        pass
