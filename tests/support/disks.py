"""Disks that take no more, for schedulers that run on them; nothing here needs an administrator.

A disk is filled before a process starts, or while it runs, and freed again. ``command`` goes before
the command of a process that is to run on it, ``says`` is what a scheduler says once it is full, ``says_of_a_copy`` what a
command does that copies to it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeAlias

from tests.support.schedulers import SchedulerProcess

UNLIMITED = resource.RLIM_INFINITY


class Quota:
    """The kernel refuses every write of the process: what SQLite calls an I/O error.

    The errno is that of a file that is too large, where a quota, a disk that breaks or a file
    system that turns read-only have their own; SQLite tells none of these apart.
    """

    says = "cannot be read or written (SQLITE_IOERR_"
    says_of_a_copy = "disk I/O error"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._room: int | None = None

    @property
    def command(self) -> list[str]:
        if self._room is None:
            return []
        return ["sh", "-c", f'ulimit -S -f {self._room // 512}; exec "$@"', "sh"]

    def fill(self, process: SchedulerProcess | None = None, *, room: int = 0) -> None:
        """Let only `room` bytes be written, by `process` and by those that start later."""
        self._room = room
        if process is not None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, UNLIMITED))

    def free(self, process: SchedulerProcess) -> None:
        """Let `process` write again, and those that start later."""
        self._room = None
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


class SmallDisk:
    """A file system of a megabyte, in memory; seen only by what runs in its namespace.

    When it goes, what was on it is copied to `folder`.
    """

    says = "has no room (SQLITE_FULL"
    says_of_a_copy = "there is no room for it on the disk"
    _MOUNT = 'mount -t tmpfs -o size=1m none "$0" && echo mounted && exec cat'

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._holder: asyncio.subprocess.Process | None = None

    @classmethod
    def is_possible(cls) -> bool:
        """Whether this machine lets us mount one."""
        try:
            done = subprocess.run(
                cls._namespace("."), stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
        except FileNotFoundError:
            return False
        return not done.returncode

    @property
    def command(self) -> list[str]:
        target = f"--target={self._pid}"
        return ["nsenter", target, "--user", "--preserve-credentials", "--mount", "--"]

    def fill(self, _process: SchedulerProcess | None = None, *, room: int = 0) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017  # it is what ends the loop
            file.truncate(file.tell() - room)

    def free(self, _process: SchedulerProcess) -> None:
        self._ballast.unlink()

    async def __aenter__(self) -> Self:
        self._holder = await asyncio.create_subprocess_exec(
            *self._namespace(str(self.folder)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert await self._holder.stdout.readline() == b"mounted\n"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._holder is not None
        assert self._holder.stdin is not None
        with suppress(OSError):
            self._ballast.unlink()
        shutil.copytree(self._seen, self.folder, dirs_exist_ok=True)
        self._holder.stdin.close()  # which ends it, and with it the namespace
        await self._holder.wait()

    def protect(self) -> None:
        """Make the file system read-only; nothing that runs on it may have a file open."""
        remount = [*self.command, "mount", "-o", "remount,bind,ro", str(self.folder)]
        subprocess.run(remount, check=True)

    @classmethod
    def _namespace(cls, folder: str) -> list[str]:
        unshare = ["unshare", "--user", "--map-root-user", "--mount"]
        return [*unshare, "sh", "-c", cls._MOUNT, folder]

    @property
    def _pid(self) -> int:
        assert self._holder is not None
        return self._holder.pid

    @property
    def _seen(self) -> Path:
        """Its root as others see it, in whose namespace it is not."""
        return Path(f"/proc/{self._pid}/root{self.folder}")

    @property
    def _ballast(self) -> Path:
        return self._seen / "ballast"


class Foreign:
    """A folder whose files belong to somebody else, as far as their modes go.

    An administrator's process may write all the same, so it runs without that right.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def command(self) -> list[str]:
        return [] if os.getuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

    def protect(self) -> None:
        """Let nobody write into the folder and its files."""
        for path in (*self.folder.iterdir(), self.folder):
            path.chmod(0o500)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for path in (self.folder, *self.folder.iterdir()):
            path.chmod(0o700)


Disk: TypeAlias = Quota | SmallDisk

DISKS: list[type[Disk]] = [Quota, *([SmallDisk] if SmallDisk.is_possible() else [])]
"""What can be had here: the second one is a really full disk, where that is permitted."""

ReadOnly: TypeAlias = Foreign | SmallDisk

READ_ONLY: list[type[ReadOnly]] = [Foreign, *([SmallDisk] if SmallDisk in DISKS else [])]
