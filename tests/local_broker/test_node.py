"""The private node: starts, keeps what is durable, leaves nothing behind, whoever is killed."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import aio_pika
import pytest

from broker_queue.local_broker import node as node_module
from broker_queue.local_broker.handshake import problem_with
from broker_queue.local_broker.node import NodeError, PrivateNode
from tests.support.waiting import PATIENCE, until

OWNER = """
import sys, time
from broker_queue.local_broker.node import PrivateNode
with PrivateNode() as node:
    print(node.url, node.folder, node.pid, flush=True)
    time.sleep(600)
"""


async def declare(url: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "classic"})


async def publish(url: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        message = aio_pika.Message(b"here", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, "kept")


async def take(url: str) -> bytes:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("kept", passive=True)
        message = await queue.get(no_ack=True, timeout=PATIENCE)
        assert message is not None
        return message.body


def listening(pid: int) -> set[str]:
    """The addresses on which a process listens for TCP."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile, so it is none that listens
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                addresses.add(fields[1].rpartition(":")[0])
    return addresses


def processes_in(folder: Path) -> set[str]:
    """Command lines of the processes that know this folder, from their environment."""
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if str(folder).encode() in (process / "environ").read_bytes():
                    found.add((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


async def test_what_is_durable_survives_a_crash_and_a_restart(node: PrivateNode) -> None:
    assert problem_with(node.url) is None
    await declare(node.url)
    node.stop()  # RabbitMQ 3.10 can lose a queue if it is killed within a second of declaring it
    node.start()
    await publish(node.url)
    url = node.url
    node.kill()
    assert not node.is_running
    assert problem_with(url) is not None
    node.start()
    assert node.url == url
    assert await take(url) == b"here"
    loopback = "0100007F"
    assert listening(node.pid) == {loopback}, "nothing of it can be reached from elsewhere"
    node.stop()
    assert problem_with(url) is not None
    assert processes_in(node.folder) == set()


async def test_a_node_on_the_same_folder_has_the_same_ports_if_they_are_free(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "_is_free", lambda _port: True)  # whatever other tests do
    first = PrivateNode(tmp_path)
    assert PrivateNode(tmp_path).url == first.url
    mine = int(first.url.rpartition(":")[2].rstrip("/"))
    monkeypatch.setattr(node_module, "_is_free", lambda port: port != mine)
    assert PrivateNode(tmp_path).url != first.url


def test_a_port_on_which_somebody_listens_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not node_module._is_free(server.getsockname()[1])


async def test_a_node_ends_with_the_process_that_started_it(server: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    url, folder, pid = (await owner.stdout.readline()).decode().split()
    assert problem_with(url) is None
    owner.send_signal(signal.SIGKILL)
    await owner.wait()

    async def is_gone() -> bool:
        return not exists(folder) and not processes_in(Path(folder))

    await until(is_gone, PATIENCE)
    assert not exists(f"/proc/{pid}")


def exists(path: str) -> bool:
    return Path(path).exists()


def test_a_node_that_does_not_start_says_why(server: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    with (
        pytest.raises(NodeError, match=rf"did not start(.|\n)*{re.escape(str(tmp_path))}/data"),
        PrivateNode(tmp_path),
    ):
        pass
    assert processes_in(tmp_path) == set()
