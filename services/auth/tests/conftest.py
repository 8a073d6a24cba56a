"""The auth service on real PostgreSQL, Redis and RabbitMQ, driven through its HTTP application."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa

from posthorn_auth.bootstrap import MIGRATIONS, Container, bootstrap
from posthorn_auth.domain.mails import MailPurpose, mail_token
from posthorn_auth.entrypoints.http.app import build_app
from posthorn_auth.settings import Settings
from posthorn_common import migrations
from posthorn_common.testing import common_settings

ENCRYPTION_KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


@pytest.fixture(scope="session")
def auth_database(make_database: Callable[[str], str]) -> str:
    """A migrated database."""
    url = make_database("auth")
    asyncio.run(migrations.upgrade(url, MIGRATIONS))
    return url


@pytest.fixture
def settings(auth_database: str, redis_url: str, amqp_url: str) -> Settings:
    return Settings(
        **common_settings(redis_url=redis_url, amqp_url=amqp_url),
        database_url=auth_database,
        encryption_key=ENCRYPTION_KEY,
        mailer_url="http://127.0.0.1:9",
        login_attempts=3,
        login_attempts_per_address=1000,
        mails_to_strangers_per_day=8,
    )


@pytest_asyncio.fixture
async def container(settings: Settings) -> AsyncGenerator[Container]:
    async with bootstrap(settings) as opened:
        await opened.key_ring.ensure_key()
        yield opened


@pytest_asyncio.fixture
async def client(container: Container) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(container))
    async with httpx.AsyncClient(transport=transport, base_url="http://auth") as http:
        yield http


Register = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def register(client: httpx.AsyncClient) -> Register:
    """Register an organisation; returns the answer with the ready-made `headers` of its owner."""

    async def call(**changes: Any) -> dict[str, Any]:
        body = {
            "organisation_name": "Lighthouse Books",
            "name": "Ada",
            "email": f"ada-{uuid4()}@example.com",
            "password": "a long and private sentence",
            **changes,
        }
        answer = await client.post("/v1/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        return {**document, "headers": {"Authorization": f"Bearer {document['access_token']}"}}

    return call


TokenOf = Callable[[str, MailPurpose], Awaitable[str]]


@pytest.fixture
def token_of(container: Container) -> TokenOf:
    """Return the token in the newest mail of a kind to an address, as the mailer would be given it."""

    async def call(email: str, purpose: MailPurpose) -> str:
        async with container.engine.connect() as connection:
            query = sa.text(
                "SELECT id FROM account_mails WHERE to_email = :email AND purpose = :purpose ORDER BY id DESC"
            )
            mail_id = (await connection.scalars(query, {"email": email, "purpose": purpose})).first()
        assert mail_id is not None, f"no mail {purpose}"
        return mail_token(mail_id, container.sending_mails._token_key)

    return call


@pytest.fixture
def age_mails(container: Container) -> Callable[[timedelta], Awaitable[None]]:
    """Let time pass for all mails, as far as the database can tell."""

    async def call(age: timedelta) -> None:
        statement = sa.text(
            "UPDATE account_mails SET created_at = created_at - :age, expires_at = expires_at - :age"
        ).bindparams(sa.bindparam("age", type_=sa.Interval))
        async with container.engine.begin() as connection:
            await connection.execute(statement, {"age": age})

    return call
