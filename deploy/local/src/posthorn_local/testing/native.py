"""Native test servers, started once for all test processes of a checkout."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from posthorn_local.ports import choose_ports, free_ports
from posthorn_local.servers import PostgresServer, RabbitMQServer, ValkeyServer
from posthorn_local.servers.postgres import NOT_DURABLE
from posthorn_local.servers.rabbitmq import RabbitMQPorts
from posthorn_local.supervisor import exclusive, pid_file, running_process
from posthorn_local.testing.endpoints import PostgresEndpoint, RabbitMQEndpoint, RedisEndpoint


class _Parameters(TypedDict):
    ports: dict[str, int]
    password: str


@dataclass(frozen=True)
class NativeTestServers:
    """The test servers below `folder`. Every method may be called by several processes at once."""

    folder: Path

    def postgres(self) -> PostgresEndpoint:
        """Start PostgreSQL unless it runs; without fsync, because its data are thrown away."""
        with exclusive(self.folder / "postgres.lock"):
            server = self._postgres()
            server.start()
            return PostgresEndpoint(server.url)

    def redis(self) -> RedisEndpoint:
        """Start Valkey unless it runs; with 512 databases, one for each test session."""
        with exclusive(self.folder / "valkey.lock"):
            server = self._valkey()
            server.start()
            return RedisEndpoint(server.url)

    def rabbitmq(self) -> RabbitMQEndpoint:
        """Start RabbitMQ unless it runs; with its HTTP API, which makes a virtual host in milliseconds."""
        with exclusive(self.folder / "rabbitmq.lock"):
            server = self._rabbitmq()
            server.start()
            return RabbitMQEndpoint(server.url, server.management_url)

    def stop(self) -> None:
        """Stop all servers and delete their data."""
        if not self.folder.exists():
            return
        rabbitmq, valkey, postgres = self._rabbitmq(), self._valkey(), self._postgres()
        for process in (rabbitmq.process, rabbitmq.epmd, valkey.process, postgres.process):
            process.kill()
        shutil.rmtree(self.folder)

    def _postgres(self) -> PostgresServer:
        parameters = self._parameters("postgres", ["postgres"])
        return PostgresServer(
            self.folder,
            parameters["ports"]["postgres"],
            parameters["password"],
            options={**NOT_DURABLE, "max_connections": "500"},
        )

    def _valkey(self) -> ValkeyServer:
        parameters = self._parameters("valkey", ["valkey"])
        return ValkeyServer(
            self.folder, parameters["ports"]["valkey"], parameters["password"], options={"databases": "512"}
        )

    def _rabbitmq(self) -> RabbitMQServer:
        parameters = self._parameters("rabbitmq", ["amqp", "distribution", "epmd", "management"])
        return RabbitMQServer(self.folder, RabbitMQPorts(**parameters["ports"]), parameters["password"])

    def _parameters(self, server: str, ports: list[str]) -> _Parameters:
        """Return ports and password of a server: chosen once; a port that somebody has taken since is replaced."""
        path = self.folder / f"{server}.json"
        if path.exists():
            parameters: _Parameters = json.loads(path.read_text())
            if running_process(pid_file(self.folder, server)) is not None:
                return parameters
            parameters["ports"] = choose_ports(parameters["ports"])
        else:
            chosen = dict(zip(ports, free_ports(len(ports)), strict=True))
            parameters = {"ports": chosen, "password": secrets.token_urlsafe(24)}
        path.touch(mode=0o600)
        path.write_text(json.dumps(parameters))
        return parameters
