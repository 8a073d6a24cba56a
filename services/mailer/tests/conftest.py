"""The mailer service on real PostgreSQL, Redis and RabbitMQ."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import replace

import httpx
import pytest
import pytest_asyncio

from posthorn_common import migrations
from posthorn_common.testing import TokenMint, common_settings
from posthorn_mailer.bootstrap import MIGRATIONS, Container, bootstrap
from posthorn_mailer.entrypoints.http.app import build_app
from posthorn_mailer.settings import Settings

from .dkim_verifying import lend_ed25519_to_dkimpy, verified

ENCRYPTION_KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
LINK_SECRET = base64.urlsafe_b64encode(b"l" * 32).decode()


@pytest.fixture(scope="session")
def mailer_database(make_database: Callable[[str], str]) -> str:
    """A migrated database."""
    url = make_database("mailer")
    asyncio.run(migrations.upgrade(url, MIGRATIONS))
    return url


@pytest.fixture
def settings(mailer_database: str, redis_url: str, amqp_url: str) -> Settings:
    return Settings(
        **common_settings(redis_url=redis_url, amqp_url=amqp_url),
        database_url=mailer_database,
        encryption_key=ENCRYPTION_KEY,
        link_secret=LINK_SECRET,
        campaigns_url="http://campaigns.test",
    )


@pytest.fixture(scope="session")
def mint() -> TokenMint:
    return TokenMint()


@pytest.fixture(scope="session")
def verified_dkim() -> Generator[Callable[[bytes, Mapping[str, str], int], list[bool]]]:
    """What verifies DKIM signatures; see dkim_verifying."""
    with pytest.MonkeyPatch.context() as patches:
        lend_ed25519_to_dkimpy(patches)
        yield verified


@pytest_asyncio.fixture
async def container(settings: Settings, mint: TokenMint) -> AsyncGenerator[Container]:
    """The opened service; accepts the mint's tokens."""
    async with bootstrap(settings) as opened:
        yield replace(opened, identity=mint.identity("mailer"))


@pytest_asyncio.fixture
async def client(container: Container) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(container))
    async with httpx.AsyncClient(transport=transport, base_url="http://mailer") as http:
        yield http
