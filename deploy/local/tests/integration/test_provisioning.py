from __future__ import annotations

import secrets

import asyncpg
import pytest

from posthorn_local.provisioning import SCHEMA_OWNERS, provision

pytestmark = pytest.mark.integration


@pytest.fixture
async def urls(postgres_server):
    suffix = f"_{secrets.token_hex(4)}"
    database = f"posthorn_test{suffix}"
    passwords = {service: secrets.token_urlsafe(12) for service in SCHEMA_OWNERS}

    async def run():
        urls = await provision(postgres_server.url, database=database, passwords=passwords, role_suffix=suffix)
        return {service: url.replace("+asyncpg", "") for service, url in urls.items()}

    yield await run(), run
    admin = await asyncpg.connect(postgres_server.url)
    await admin.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
    for service in SCHEMA_OWNERS:
        await admin.execute(f'DROP ROLE "posthorn_{service}{suffix}"')
    await admin.close()


@pytest.mark.parametrize("service", SCHEMA_OWNERS)
async def test_a_role_owns_its_schema_and_nothing_else(urls, service):
    urls, _ = urls
    connection = await asyncpg.connect(urls[service])
    try:
        await connection.execute("CREATE TABLE own (id int)")
        assert await connection.fetchval("SELECT schemaname FROM pg_tables WHERE tablename = 'own'") == service
        for statement in (
            "CREATE TABLE public.stray (id int)",
            "CREATE SCHEMA another",
            "CREATE ROLE somebody",
            "CREATE DATABASE somewhere",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_one_role_cannot_read_the_schema_of_another(urls):
    urls, _ = urls
    connection = await asyncpg.connect(urls["auth"])
    await connection.execute("CREATE TABLE users (id int)")
    await connection.close()

    connection = await asyncpg.connect(urls["mailer"])
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for schema auth"):
        await connection.fetch("SELECT * FROM auth.users")
    await connection.close()


async def test_provisioning_again_changes_nothing(urls):
    urls, run = urls
    connection = await asyncpg.connect(urls["campaigns"])
    await connection.execute("CREATE TABLE kept (id int)")
    await connection.close()

    assert await run() == urls

    connection = await asyncpg.connect(urls["campaigns"])
    assert await connection.fetchval("SELECT count(*) FROM kept") == 0
    await connection.close()


async def test_an_owner_without_superuser_rights_can_provision(postgres_server):
    """Managed PostgreSQL gives no superuser."""
    suffix = f"_{secrets.token_hex(4)}"
    owner, database = f"owner{suffix}", f"posthorn_test{suffix}"
    admin = await asyncpg.connect(postgres_server.url)
    try:
        await admin.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE CREATEDB PASSWORD 'secret'")
        server = postgres_server.url.rpartition("@")[2]
        owner_url = f"postgresql://{owner}:secret@{server}"

        for _ in range(2):
            urls = await provision(owner_url, database=database, passwords={"auth": "pw"}, role_suffix=suffix)

        connection = await asyncpg.connect(urls["auth"].replace("+asyncpg", ""))
        assert await connection.fetchval("SELECT current_schema()") == "auth"
        await connection.close()
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        await admin.execute(f"DROP ROLE IF EXISTS posthorn_auth{suffix}, {owner}")
        await admin.close()
