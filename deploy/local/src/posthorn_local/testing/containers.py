"""Test servers in containers, where a Docker engine answers. Each test process has its own; they end with it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Generator

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from posthorn_local.testing.endpoints import PostgresEndpoint, RabbitMQEndpoint, RedisEndpoint


@contextlib.contextmanager
def postgres_container() -> Generator[PostgresEndpoint]:
    """Run PostgreSQL 18."""
    password = secrets.token_urlsafe(24)
    container = (
        DockerContainer("postgres:18-bookworm")
        .with_exposed_ports(5432)
        .with_env("POSTGRES_PASSWORD", password)
        .with_command("postgres -c fsync=off -c synchronous_commit=off -c max_connections=500")
        # The server starts twice: once for its own set-up, then for us.
        .waiting_for(LogMessageWaitStrategy("database system is ready to accept connections", times=2))
    )
    with container:
        yield PostgresEndpoint(f"postgresql://postgres:{password}@{_address(container, 5432)}/postgres")


@contextlib.contextmanager
def redis_container() -> Generator[RedisEndpoint]:
    """Run Valkey 9."""
    password = secrets.token_urlsafe(24)
    container = (
        DockerContainer("valkey/valkey:9-bookworm")
        .with_exposed_ports(6379)
        .with_command(f"valkey-server --requirepass {password} --databases 512 --maxmemory-policy noeviction")
        .waiting_for(LogMessageWaitStrategy("Ready to accept connections"))
    )
    with container:
        yield RedisEndpoint(f"redis://:{password}@{_address(container, 6379)}/0")


@contextlib.contextmanager
def rabbitmq_container() -> Generator[RabbitMQEndpoint]:
    """Run RabbitMQ 4 with its HTTP API."""
    password = secrets.token_urlsafe(24)
    container = (
        DockerContainer("rabbitmq:4-management")
        .with_exposed_ports(5672, 15672)
        .with_env("RABBITMQ_DEFAULT_USER", "posthorn")
        .with_env("RABBITMQ_DEFAULT_PASS", password)
        .waiting_for(LogMessageWaitStrategy("Server startup complete"))
    )
    with container:
        yield RabbitMQEndpoint(
            f"amqp://posthorn:{password}@{_address(container, 5672)}/",
            f"http://posthorn:{password}@{_address(container, 15672)}",
        )


def _address(container: DockerContainer, port: int) -> str:
    return f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"
