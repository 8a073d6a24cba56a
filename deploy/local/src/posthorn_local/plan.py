"""What the stack consists of: every program with its command, port and environment. Nothing is started here."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from posthorn_local.environment import ServerUrls, service_environment, service_url
from posthorn_local.ports import LOOPBACK
from posthorn_local.provisioning import SCHEMA_OWNERS, role_url
from posthorn_local.secrets_file import StackSecrets
from posthorn_local.servers import PostgresServer, RabbitMQServer, ValkeyServer
from posthorn_local.servers.rabbitmq import RabbitMQPorts
from posthorn_local.supervisor import ManagedProcess

DATABASE = "posthorn"
PREFERRED_PORTS: Mapping[str, int] = {
    "gateway": 8080,
    "auth": 8081,
    "campaigns": 8082,
    "mailer": 8083,
    "analytics": 8084,
    "mailcatcher_smtp": 2525,
    "mailcatcher_http": 8025,
    "postgres": 55432,
    "valkey": 56379,
    "rabbitmq": 55672,
    "rabbitmq_distribution": 55673,
    "rabbitmq_epmd": 55674,
}
_LISTENERS = {
    "mailcatcher_smtp": "mailcatcher",
    "mailcatcher_http": "mailcatcher",
    "rabbitmq_distribution": "rabbitmq",
    "rabbitmq_epmd": "epmd",
}


def listener(port_name: str) -> str:
    """Return the name of the program that listens on a port of PREFERRED_PORTS."""
    return _LISTENERS.get(port_name, port_name)


@dataclass(frozen=True)
class ExternalServers:
    """Servers to use instead of native ones; None means a native one."""

    postgres_admin: str | None = None
    redis: str | None = None
    amqp: str | None = None

    @classmethod
    def from_environment(cls) -> ExternalServers:
        """Read POSTHORN_POSTGRES_URL (of a role that may create databases and roles), _REDIS_URL and _AMQP_URL."""
        return cls(
            postgres_admin=os.environ.get("POSTHORN_POSTGRES_URL"),
            redis=os.environ.get("POSTHORN_REDIS_URL"),
            amqp=os.environ.get("POSTHORN_AMQP_URL"),
        )


NATIVE = ExternalServers()


@dataclass(frozen=True)
class Plan:
    """The stack below `folder` with these ports and secrets.

    `settings` are environment variables for all services; `roles` says which roles a service runs instead of all.
    """

    folder: Path
    ports: Mapping[str, int]
    secrets: StackSecrets
    external: ExternalServers
    settings: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)

    @property
    def postgres(self) -> PostgresServer | None:
        """Our PostgreSQL, unless an external one is used."""
        if self.external.postgres_admin:
            return None
        return PostgresServer(self.folder, self.ports["postgres"], self.secrets.postgres_password)

    @property
    def valkey(self) -> ValkeyServer | None:
        """Our Valkey, unless an external Redis is used."""
        if self.external.redis:
            return None
        return ValkeyServer(self.folder, self.ports["valkey"], self.secrets.redis_password)

    @property
    def rabbitmq(self) -> RabbitMQServer | None:
        """Our RabbitMQ, unless an external one is used."""
        if self.external.amqp:
            return None
        ports = RabbitMQPorts(
            amqp=self.ports["rabbitmq"],
            distribution=self.ports["rabbitmq_distribution"],
            epmd=self.ports["rabbitmq_epmd"],
        )
        return RabbitMQServer(self.folder, ports, self.secrets.amqp_password)

    @property
    def servers(self) -> ServerUrls:
        """Where PostgreSQL, Redis and RabbitMQ are, our own or external."""
        postgres, valkey, rabbitmq = self.postgres, self.valkey, self.rabbitmq
        return ServerUrls(
            postgres_admin=postgres.url if postgres else str(self.external.postgres_admin),
            redis=valkey.url if valkey else str(self.external.redis),
            amqp=rabbitmq.url if rabbitmq else str(self.external.amqp),
        )

    @property
    def mailcatcher(self) -> ManagedProcess:
        """The SMTP server that keeps all mail."""
        command = [sys.executable, "-m", "posthorn_local.mailcatcher"]
        command += ["--smtp-port", str(self.ports["mailcatcher_smtp"])]
        command += ["--http-port", str(self.ports["mailcatcher_http"])]
        command += ["--database", str(self.folder / "data" / "mailcatcher.sqlite")]
        return ManagedProcess("mailcatcher", tuple(command), self.folder, dict(os.environ))

    def service(self, name: str) -> ManagedProcess:
        """Return the process that runs a service, with all its roles unless the plan says otherwise."""
        roles = ("--roles", self.roles[name]) if name in self.roles else ()
        return ManagedProcess(name, (service_program(name), "run", *roles), self.folder, self.environment(name))

    def worker(self, number: int, port: int) -> ManagedProcess:
        """Return an additional mailer process that only sends; its HTTP port serves health and metrics."""
        command = (service_program("mailer"), "run", "--roles", "worker", "--port", str(port))
        return ManagedProcess(f"mailer-worker-{number}", command, self.folder, self.environment("mailer"))

    def environment(self, service: str) -> dict[str, str]:
        """Return the whole environment of a service's processes."""
        database_urls = {
            owner: role_url(
                self.servers.postgres_admin,
                database=DATABASE,
                role=f"posthorn_{owner}",
                password=self.secrets.database_password(owner),
            )
            for owner in SCHEMA_OWNERS
        }
        own = service_environment(
            service, ports=self.ports, servers=self.servers, database_urls=database_urls, secrets=self.secrets
        )
        return {**os.environ, **own, **self.settings}

    @property
    def urls(self) -> dict[str, str]:
        """Addresses without credentials, for people and scripts."""
        return {
            "gateway": service_url(self.ports, "gateway"),
            "mailcatcher": f"http://{LOOPBACK}:{self.ports['mailcatcher_http']}",
            "smtp": f"smtp://{LOOPBACK}:{self.ports['mailcatcher_smtp']}",
        }


def service_program(name: str) -> str:
    """Return the path of a service's command, installed beside the running Python."""
    return str(Path(sys.executable).with_name(f"posthorn-{name}"))
