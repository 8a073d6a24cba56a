"""pytest fixtures; registered by the entry point `pytest11`, so that every test folder has them.

`postgres_server`, `redis_server`, `rabbitmq_server` are shared servers, started when a test first asks for them.
`make_database`, `redis_url`, `amqp_url` are what one session has on them for itself. `smtp_server` is one test's own.

Every pytest run loads this file, so it imports drivers and servers only where a fixture uses them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from posthorn_local.paths import STATE
from posthorn_local.testing.endpoints import PostgresEndpoint, RabbitMQEndpoint, RedisEndpoint

if TYPE_CHECKING:
    from posthorn_local.testing.native import NativeTestServers
    from posthorn_local.testing.smtp import RecordingSmtpServer

MakeDatabase = Callable[[str], str]
"""Service name → SQLAlchemy URL of a fresh database with that service's role and schema."""


def pytest_configure(config: pytest.Config) -> None:  # noqa: ARG001  the shape of the hook
    """Print tracebacks plainly: painting one that nobody sees holds the event loop for a second."""
    import structlog

    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])


@pytest.fixture(scope="session")
def docker_answers() -> bool:
    """Whether a Docker engine can be used."""
    from posthorn_local.testing.docker import docker_answers

    return docker_answers()


@pytest.fixture(scope="session")
def native_servers() -> NativeTestServers:
    """The native servers, which all test processes of this checkout share."""
    from posthorn_local.testing.native import NativeTestServers

    return NativeTestServers(STATE / "test")


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Generator[PostgresEndpoint]:
    """A PostgreSQL server with the right to create databases and roles."""
    if url := os.environ.get("POSTHORN_TEST_POSTGRES_URL"):
        yield PostgresEndpoint(url)
    elif request.getfixturevalue("docker_answers"):
        from posthorn_local.testing.containers import postgres_container

        with postgres_container() as server:
            yield server
    else:
        yield request.getfixturevalue("native_servers").postgres()


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Generator[RedisEndpoint]:
    """A Redis or Valkey server. Take `redis_url` to have a database for yourself."""
    if url := os.environ.get("POSTHORN_TEST_REDIS_URL"):
        yield RedisEndpoint(url)
    elif request.getfixturevalue("docker_answers"):
        from posthorn_local.testing.containers import redis_container

        with redis_container() as server:
            yield server
    else:
        yield request.getfixturevalue("native_servers").redis()


@pytest.fixture(scope="session")
def rabbitmq_server(request: pytest.FixtureRequest) -> Generator[RabbitMQEndpoint]:
    """A RabbitMQ server with its HTTP API (`POSTHORN_TEST_AMQP_MANAGEMENT_URL`, default: same host, port 15672)."""
    if url := os.environ.get("POSTHORN_TEST_AMQP_URL"):
        server = urlsplit(url)
        credentials = server.netloc.rpartition("@")[0]
        default = f"http://{credentials}@{server.hostname}:15672"
        yield RabbitMQEndpoint(url, os.environ.get("POSTHORN_TEST_AMQP_MANAGEMENT_URL", default))
    elif request.getfixturevalue("docker_answers"):
        from posthorn_local.testing.containers import rabbitmq_container

        with rabbitmq_container() as container:
            yield container
    else:
        yield request.getfixturevalue("native_servers").rabbitmq()


@pytest.fixture(scope="session")
def make_database(postgres_server: PostgresEndpoint) -> Generator[MakeDatabase]:
    """A function: service name → SQLAlchemy URL of a fresh database; all are dropped at the end of the session."""
    from posthorn_local.testing.isolation import fresh_database

    with contextlib.ExitStack() as databases:
        yield lambda service: databases.enter_context(fresh_database(postgres_server, service))


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisEndpoint) -> Generator[str]:
    """URL of a Redis database that this session has for itself, empty at its start."""
    from posthorn_local.testing.isolation import fresh_redis_database

    with fresh_redis_database(redis_server) as url:
        yield url


@pytest.fixture(scope="session")
def amqp_url(rabbitmq_server: RabbitMQEndpoint) -> Generator[str]:
    """URL of a virtual host that this session has for itself."""
    from posthorn_local.testing.isolation import fresh_virtual_host

    with fresh_virtual_host(rabbitmq_server) as url:
        yield url


@pytest.fixture
def smtp_server() -> Generator[RecordingSmtpServer]:
    """A real SMTP server that keeps what it accepts; see RecordingSmtpServer."""
    from posthorn_local.testing.smtp import RecordingSmtpServer

    server = RecordingSmtpServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
