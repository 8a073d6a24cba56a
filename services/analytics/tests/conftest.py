"""The analytics service on real PostgreSQL, Redis and RabbitMQ, driven through its HTTP application and its events."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import AsyncGenerator, Callable
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from posthorn_analytics.bootstrap import MIGRATIONS, Container, bootstrap
from posthorn_analytics.entrypoints.http.app import build_app
from posthorn_analytics.settings import Settings
from posthorn_common import migrations
from posthorn_common.clock import new_id
from posthorn_common.testing import TokenMint, common_settings
from posthorn_contracts.permissions import Permission
from posthorn_contracts.recipient_tokens import RecipientToken
from posthorn_local.ports import free_ports

LINK_SECRET = b"a link secret that tests alone use"
PERSON = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


@pytest.fixture(scope="session")
def analytics_database(make_database: Callable[[str], str]) -> str:
    """A migrated database."""
    url = make_database("analytics")
    asyncio.run(migrations.upgrade(url, MIGRATIONS))
    return url


@pytest.fixture(scope="session")
def campaigns_port() -> int:
    """Where the campaigns service would be."""
    return free_ports(1)[0]


@pytest.fixture
def settings(analytics_database: str, redis_url: str, amqp_url: str, campaigns_port: int) -> Settings:
    return Settings(
        **common_settings(redis_url=redis_url, amqp_url=amqp_url),
        database_url=analytics_database,
        campaigns_url=f"http://127.0.0.1:{campaigns_port}",
        link_secret=base64.urlsafe_b64encode(LINK_SECRET).decode(),
    )


@pytest.fixture(scope="session")
def mint() -> TokenMint:
    return TokenMint()


@pytest_asyncio.fixture
async def container(settings: Settings, mint: TokenMint) -> AsyncGenerator[Container]:
    async with bootstrap(settings) as opened:
        yield dataclasses.replace(opened, identity=mint.identity("analytics"))


@pytest_asyncio.fixture
async def client(container: Container) -> AsyncGenerator[httpx.AsyncClient]:
    """A caller of the API, not signed in, and a person with a browser."""
    transport = httpx.ASGITransport(build_app(container))
    async with httpx.AsyncClient(transport=transport, base_url="http://analytics", headers=PERSON) as http:
        yield http


@pytest.fixture
def organisation_id() -> UUID:
    return new_id()


Headers = Callable[..., dict[str, str]]


@pytest.fixture
def headers_of(mint: TokenMint) -> Headers:
    """Headers of a user of an organisation, who may read statistics unless other permissions are given."""

    def headers(organisation_id: UUID, *scopes: str) -> dict[str, str]:
        token = mint.access_token(organisation_id, set(scopes or {Permission.STATISTICS_READ}))
        return {"Authorization": f"Bearer {token}"}

    return headers


@pytest.fixture
def reader(headers_of: Headers, organisation_id: UUID) -> dict[str, str]:
    return headers_of(organisation_id)


@pytest.fixture
def token_of() -> Callable[[UUID, UUID], str]:
    """Sign a recipient's token as the mailer does."""
    return lambda campaign_id, contact_id: RecipientToken(campaign_id, contact_id).sign(LINK_SECRET)
