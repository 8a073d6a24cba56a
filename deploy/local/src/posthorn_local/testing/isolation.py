"""A database, a Redis database and a virtual host that one test session has for itself on a shared server."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import asyncpg
import httpx
import redis

from posthorn_local.provisioning import provision
from posthorn_local.testing.endpoints import PostgresEndpoint, RabbitMQEndpoint, RedisEndpoint

Result = TypeVar("Result")
_LEASE_SECONDS = 6 * 3600


@contextlib.contextmanager
def fresh_database(server: PostgresEndpoint, service: str) -> Generator[str]:
    """Provide an empty database with the service's role and schema; gives the service's SQLAlchemy URL.

    Database and role are dropped afterwards, whoever is still connected.
    """
    suffix = f"_{secrets.token_hex(6)}"
    database = f"posthorn_test{suffix}"
    passwords = {service: secrets.token_urlsafe(18)}
    urls = _run(provision(server.url, database=database, passwords=passwords, role_suffix=suffix))
    try:
        yield urls[service]
    finally:
        _run(_drop(server.url, database=database, role=f"posthorn_{service}{suffix}"))


@contextlib.contextmanager
def fresh_redis_database(server: RedisEndpoint) -> Generator[str]:
    """Lease an empty database of the server; gives its URL. It is emptied afterwards."""
    control = redis.Redis.from_url(server.url)
    try:
        index = _lease_index(control)
        url = f"{server.url.rsplit('/', 1)[0]}/{index}"
        _flush(url)
        try:
            yield url
        finally:
            _flush(url)
            control.delete(_lease_key(index))
    finally:
        control.close()


@contextlib.contextmanager
def fresh_virtual_host(server: RabbitMQEndpoint) -> Generator[str]:
    """Provide an empty virtual host; gives its AMQP URL. It is deleted afterwards with all its queues."""
    name = f"test-{secrets.token_hex(6)}"
    with httpx.Client(base_url=server.management_url, timeout=60, trust_env=False) as api:
        api.put(f"/api/vhosts/{name}").raise_for_status()
        try:
            yield server.virtual_host_url(name)
        finally:
            api.delete(f"/api/vhosts/{name}").raise_for_status()


def _lease_index(control: redis.Redis) -> int:
    count = int(control.config_get("databases")["databases"] or 16)
    # Random order, so that sessions that start together do not try the same ones.
    candidates = random.sample(range(1, count), count - 1)
    for index in candidates:
        if control.set(_lease_key(index), "leased", nx=True, ex=_LEASE_SECONDS):
            return index
    raise RuntimeError(f"all {count} databases of the Redis test server are in use")


def _lease_key(index: int) -> str:
    return f"posthorn:test-database:{index}"


def _flush(url: str) -> None:
    client = redis.Redis.from_url(url)
    client.flushdb()
    client.close()


async def _drop(admin_url: str, *, database: str, role: str) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        await connection.execute(f'DROP ROLE IF EXISTS "{role}"')
    finally:
        await connection.close()


def _run(work: Coroutine[object, object, Result]) -> Result:
    """Run a coroutine from synchronous code, even inside a test whose event loop is running."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(asyncio.run, work).result()
