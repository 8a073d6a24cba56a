"""Roles and schemas in PostgreSQL, by `deploy/sql/provision.sql`."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import asyncpg

from posthorn_local.paths import PROVISION_SQL

SCHEMA_OWNERS = ("auth", "campaigns", "mailer", "analytics")
"""Services with a schema of their own in PostgreSQL."""


async def provision(
    admin_url: str, *, database: str, passwords: Mapping[str, str], role_suffix: str = ""
) -> dict[str, str]:
    """Make `database` with one role and schema for each service in `passwords`; what exists is brought up to date.

    Returns each service's URL for SQLAlchemy. `admin_url` is of a role that may create databases and roles.
    Raises what asyncpg raises.
    """
    await _ensure_database(admin_url, database)
    settings = {f"posthorn.{service}_password": password for service, password in passwords.items()}
    settings |= {"posthorn.services": ",".join(passwords), "posthorn.role_suffix": role_suffix}
    connection = await asyncpg.connect(admin_url, database=database, server_settings=settings)
    try:
        await connection.execute(PROVISION_SQL.read_text())
    finally:
        await connection.close()
    return {
        service: role_url(admin_url, database=database, role=f"posthorn_{service}{role_suffix}", password=password)
        for service, password in passwords.items()
    }


def role_url(admin_url: str, *, database: str, role: str, password: str) -> str:
    """Return the SQLAlchemy URL of a role on the server of `admin_url`."""
    server = urlsplit(admin_url)
    return f"postgresql+asyncpg://{role}:{password}@{server.hostname}:{server.port or 5432}/{database}"


async def _ensure_database(admin_url: str, database: str) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
            await connection.execute(f'CREATE DATABASE "{database}"')
    finally:
        await connection.close()
