"""A small disk, on which a database may be: a tmpfs, full whenever tests want it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import asyncpg
import pytest

_TABLESPACE = "small_disk"


class SmallDisk:
    """What is left of it can be taken away and given back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"

    def fill(self, *, spare_bytes: int) -> None:
        """Leave so much."""
        free = os.statvfs(self._folder).f_bavail * os.statvfs(self._folder).f_frsize
        with self._ballast.open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, max(free - spare_bytes, 1))

    def empty(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(folder: Path, size_bytes: int) -> Generator[SmallDisk]:
    """Mount it; skips the test where that is not permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0711", "tmpfs", str(folder)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip(f"a full disk needs a small one, and mounting a tmpfs is not permitted: {result.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def move_there(admin_url: str, database: str, folder: Path) -> None:
    """Move a database to a disk while its clients wait."""
    location = folder / "tablespace"
    location.mkdir(mode=0o700)
    owner = await _data_owner(admin_url)
    os.chown(location, *owner)
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f"CREATE TABLESPACE {_TABLESPACE} LOCATION '{location}'")
        await _move(connection, database, _TABLESPACE)
    finally:
        await connection.close()


async def move_back(admin_url: str, database: str) -> None:
    """Move it to where it was."""
    connection = await asyncpg.connect(admin_url)
    try:
        await _move(connection, database, "pg_default")
        await connection.execute(f"DROP TABLESPACE {_TABLESPACE}")
    finally:
        await connection.close()


async def size_bytes(admin_url: str, database: str) -> int:
    """Return how large a database is."""
    connection = await asyncpg.connect(admin_url)
    try:
        return int(await connection.fetchval("SELECT pg_database_size($1)", database))
    finally:
        await connection.close()


async def _move(connection: asyncpg.Connection, database: str, tablespace: str) -> None:
    await connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    try:
        await connection.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1",
                                 database)  # fmt: skip
        await connection.execute(f"ALTER DATABASE {database} SET TABLESPACE {tablespace}")
    finally:
        await connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")


async def _data_owner(admin_url: str) -> tuple[int, int]:
    connection = await asyncpg.connect(admin_url)
    try:
        data = str(await connection.fetchval("SHOW data_directory"))
    finally:
        await connection.close()
    status = await asyncio.to_thread(Path(data).stat)
    return status.st_uid, status.st_gid
