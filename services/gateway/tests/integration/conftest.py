"""A gateway that listens on loopback, with real HTTP servers, Redis and RabbitMQ behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
import redis.asyncio as redis

from posthorn_common.runtime import Role
from posthorn_common.testing import common_settings
from posthorn_gateway.entrypoints.roles import ROLES, start
from posthorn_gateway.settings import Settings
from posthorn_local.ports import free_ports

from .support import GUARD_SECONDS, Creator, FakeAuth, FakeService, TokenIssuer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "gateway/tests/integration" in item.path.as_posix():
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest_asyncio.fixture
async def services() -> AsyncGenerator[dict[str, FakeService]]:
    """The services behind the gateway."""
    running = {name: FakeService(name) for name in ("auth", "campaigns", "mailer", "analytics")}
    for service in running.values():
        await service.start()
    yield running
    for service in running.values():
        await service.stop()


@pytest.fixture
def auth(services: dict[str, FakeService], issuer: TokenIssuer) -> FakeAuth:
    """Auth, with keys to exchange."""
    fake = FakeAuth(issuer, services["auth"])
    services["auth"].handler = fake.answer
    return fake


@dataclass
class RunningGateway:
    """A gateway in this process."""

    port: int
    settings: Settings
    client: httpx.AsyncClient


StartGateway = Callable[..., Awaitable[RunningGateway]]


@pytest_asyncio.fixture
async def redis_client(redis_url: str) -> AsyncGenerator[redis.Redis]:
    """The gateway's Redis, emptied."""
    client: redis.Redis = redis.Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
def gateway_settings(
    services: dict[str, FakeService], auth: FakeAuth, redis_client: redis.Redis, redis_url: str, amqp_url: str
) -> dict[str, Any]:
    """Settings of a gateway before these services."""
    return {
        **common_settings(redis_url=redis_url, amqp_url=amqp_url),
        "port": free_ports(1)[0],
        "jwks_url": f"{services['auth'].url}/.well-known/jwks.json",
        "shutdown_grace_seconds": 5,
        "revocation_poll_seconds": 0.2,
        "revocation_ask_seconds": 60,
        **{f"{name}_url": service.url for name, service in services.items()},
    }


@pytest_asyncio.fixture
async def start_gateway(gateway_settings: dict[str, Any]) -> AsyncGenerator[StartGateway]:
    """A function: settings to change → a running gateway; all end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(*, roles: tuple[str, ...] = ROLES, **changes: Any) -> RunningGateway:
            settings = Settings(**{**gateway_settings, **changes})
            started = await stack.enter_async_context(start(settings, frozenset(roles)))
            stop = asyncio.Event()
            tasks = [asyncio.create_task(_run(role, stop)) for role in started]

            async def end() -> None:
                stop.set()
                await asyncio.gather(*tasks)

            stack.push_async_callback(end)
            client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.port}", timeout=60, trust_env=False)
            await stack.enter_async_context(client)
            await _until_it_answers(client)
            return RunningGateway(settings.port, settings, client)

        yield begin


@pytest_asyncio.fixture
async def gateway(start_gateway: StartGateway) -> RunningGateway:
    """A running gateway."""
    return await start_gateway()


@pytest.fixture
def creator(services: dict[str, FakeService]) -> Creator:
    return Creator(services["campaigns"])


@pytest.fixture
def who(issuer: TokenIssuer) -> dict[str, str]:
    """A caller; the same in every request of a test."""
    return issuer.bearer()


async def _run(role: Role, stop: asyncio.Event) -> None:
    await role.run(stop)


async def _until_it_answers(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(GUARD_SECONDS):
        while True:
            with contextlib.suppress(httpx.TransportError):
                await client.get("/health/live")
                return
            await asyncio.sleep(0.02)
