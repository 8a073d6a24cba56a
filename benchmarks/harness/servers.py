"""Servers of a benchmark's own: PostgreSQL that loses nothing, Valkey with its append-only file, RabbitMQ."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from posthorn_local.environment import ServerUrls
from posthorn_local.paths import REPOSITORY
from posthorn_local.ports import free_ports
from posthorn_local.servers import PostgresServer, RabbitMQServer, ValkeyServer
from posthorn_local.servers.rabbitmq import RabbitMQPorts
from posthorn_local.supervisor import ManagedProcess, exclusive

BENCH_FOLDER = REPOSITORY / ".posthorn" / "bench"
"""What benchmarks write while they run; git-ignored."""


@dataclass(frozen=True)
class Servers:
    """Running servers, with the settings of the local stack (`make up`)."""

    postgres: PostgresServer
    valkey: ValkeyServer
    rabbitmq: RabbitMQServer

    @property
    def urls(self) -> ServerUrls:
        """Where they are."""
        return ServerUrls(self.postgres.url, self.valkey.url, self.rabbitmq.url)

    @property
    def pids(self) -> dict[str, list[int]]:
        """The root of each server's process tree."""
        return {
            "postgres": [pid_of(self.postgres.process)],
            "valkey": [pid_of(self.valkey.process)],
            "rabbitmq": [pid_of(self.rabbitmq.process)],
        }


@contextlib.contextmanager
def running_servers(name: str) -> Generator[Servers]:
    """Start servers for the benchmark `name`, without data; stop them and delete their data afterwards."""
    folder = BENCH_FOLDER / name
    with exclusive(BENCH_FOLDER / f"{name}.lock"):
        ports = free_ports(5)
        servers = Servers(
            PostgresServer(folder, ports[0], secrets.token_urlsafe(24)),
            ValkeyServer(folder, ports[1], secrets.token_urlsafe(24)),
            RabbitMQServer(folder, RabbitMQPorts(*ports[2:]), secrets.token_urlsafe(24)),
        )
        _remove(servers, folder)  # what a run that was killed has left
        try:
            for server in (servers.postgres, servers.valkey, servers.rabbitmq):
                server.start()
            yield servers
        finally:
            _remove(servers, folder)


def pid_of(process: ManagedProcess) -> int:
    """Return the pid of a program that must be running."""
    running = process.process()
    if running is None:
        raise RuntimeError(f"{process.name} does not run; its log ends:\n" + "\n".join(process.last_lines(20)))
    return running.pid


def _remove(servers: Servers, folder: Path) -> None:
    if not servers.postgres.data_folder.exists():
        return
    for process in (servers.rabbitmq.process, servers.rabbitmq.epmd, servers.valkey.process, servers.postgres.process):
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)
