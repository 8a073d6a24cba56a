"""Where tests find PostgreSQL, Redis and RabbitMQ.

In this order: `POSTHORN_TEST_POSTGRES_URL`, `POSTHORN_TEST_REDIS_URL`, `POSTHORN_TEST_AMQP_URL` if given; containers
where a Docker engine answers; else native servers below `.posthorn/test`, started once, shared by all test processes
and left running until `make test-servers-down`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class PostgresEndpoint:
    """A PostgreSQL server; `url` is of a role that may create databases and roles."""

    url: str = field(repr=False)


@dataclass(frozen=True)
class RedisEndpoint:
    """A Redis or Valkey server; `url` names database 0."""

    url: str = field(repr=False)


@dataclass(frozen=True)
class RabbitMQEndpoint:
    """A RabbitMQ server; `url` names its default virtual host, `management_url` its HTTP API."""

    url: str = field(repr=False)
    management_url: str = field(repr=False)

    def virtual_host_url(self, name: str) -> str:
        """Return the AMQP URL of a virtual host whose name needs no quoting."""
        return f"amqp://{urlsplit(self.url).netloc}/{name}"
