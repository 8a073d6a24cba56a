"""The campaigns service on real PostgreSQL, Redis and RabbitMQ, driven through its HTTP application."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from posthorn_campaigns.bootstrap import MIGRATIONS, Container, bootstrap
from posthorn_campaigns.entrypoints.http.app import build_app
from posthorn_campaigns.settings import Settings
from posthorn_common import migrations
from posthorn_common.clock import new_id
from posthorn_common.testing import TokenMint, common_settings
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role

LINK_SECRET = base64.urlsafe_b64encode(b"a secret for links, in tests only").decode()
MINT = TokenMint()


@pytest.fixture(scope="session")
def campaigns_database(make_database: Callable[[str], str]) -> str:
    """A migrated database."""
    url = make_database("campaigns")
    asyncio.run(migrations.upgrade(url, MIGRATIONS))
    return url


@pytest.fixture
def settings(campaigns_database: str, redis_url: str, amqp_url: str) -> Settings:
    return Settings(
        **common_settings(redis_url=redis_url, amqp_url=amqp_url),
        database_url=campaigns_database,
        mailer_url="http://mailer.test",
        analytics_url="http://analytics.test",
        link_secret=LINK_SECRET,
        import_max_bytes=8 * 1024 * 1024,
        import_chunk_rows=500,
    )


@pytest_asyncio.fixture
async def container(settings: Settings) -> AsyncGenerator[Container]:
    async with bootstrap(settings) as opened:
        yield dataclasses.replace(opened, identity=MINT.identity("campaigns"))


@pytest_asyncio.fixture
async def client(container: Container) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(container))
    async with httpx.AsyncClient(transport=transport, base_url="http://campaigns") as http:
        yield http


Headers = dict[str, str]
SignIn = Callable[..., Headers]


@pytest.fixture
def sign_in() -> SignIn:
    """Return headers of a caller of an organisation (a new one if none is named), by role or by its very scopes."""

    def headers(
        organisation_id: UUID | None = None, role: Role = Role.OWNER, scopes: frozenset[str] | None = None
    ) -> Headers:
        granted = ROLE_PERMISSIONS[role] if scopes is None else scopes
        token = MINT.access_token(organisation_id or new_id(), granted)
        return {"Authorization": f"Bearer {token}"}

    return headers


@pytest.fixture
def service_headers() -> Headers:
    """Headers of the mailer calling an internal route."""
    return {"Authorization": f"Bearer {MINT.service_token('mailer', 'campaigns')}"}


@pytest.fixture
def organisation_id() -> UUID:
    return new_id()


@pytest.fixture
def headers(sign_in: SignIn, organisation_id: UUID) -> Headers:
    """Headers of the owner of `organisation_id`."""
    return sign_in(organisation_id)


Eventually = Callable[..., Awaitable[Any]]


@pytest.fixture
def eventually() -> Eventually:
    """Call `read` until its result passes `check`; returns the result. The time is a guard, no expectation."""

    async def wait(
        read: Callable[[], Awaitable[Any]], check: Callable[[Any], bool] = bool, *, seconds: float = 120
    ) -> Any:
        async with asyncio.timeout(seconds):
            while not check(found := await read()):  # noqa: ASYNC110  there is nothing to wait for but the answer
                await asyncio.sleep(0.02)
            return found

    return wait
