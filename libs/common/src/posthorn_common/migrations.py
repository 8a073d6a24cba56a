"""Alembic migrations of one service: own schema, own version table, one migrator at a time.

A service keeps its revisions in `posthorn_<name>/migrations`; its `env.py` is one call of `run_environment`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

_LOCK_KEY = 7_670_727_832_110
_LOCK_TIMEOUT = "5s"
_OLDEST_SERVER = 18


class ServerTooOld(Exception):
    """The PostgreSQL server is older than what the services need; the message names both versions."""


def alembic_config(folder: Path, connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for the revisions in `folder`."""
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def upgrade(database_url: str, folder: Path, revision: str = "head") -> None:
    """Bring the schema to `revision`. Safe to run from several processes at once: they take turns.

    Raises ServerTooOld.
    """
    await _run(database_url, lambda connection: command.upgrade(alembic_config(folder, connection), revision))


async def downgrade(database_url: str, folder: Path, revision: str = "base") -> None:
    """Take the schema back to `revision`."""
    await _run(database_url, lambda connection: command.downgrade(alembic_config(folder, connection), revision))


async def check(database_url: str, folder: Path) -> None:
    """Raise if the tables in code and the migrated schema differ (`alembic check`)."""
    await _run(database_url, lambda connection: command.check(alembic_config(folder, connection)))


async def _run(database_url: str, action: Callable[[Connection], None]) -> None:
    engine = create_async_engine(database_url, poolclass=sa.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_locked, action)
            await connection.commit()
    finally:
        await engine.dispose()


def check_server(version_number: int) -> None:
    """Raise ServerTooOld unless the services can work with this PostgreSQL; `version_number` as in 180003 for 18.3."""
    major, minor = divmod(version_number, 10_000)
    if major < _OLDEST_SERVER:
        raise ServerTooOld(f"PostgreSQL {_OLDEST_SERVER} or newer is needed; this server is {major}.{minor}")


def _locked(connection: Connection, action: Callable[[Connection], None]) -> None:
    check_server(int(connection.scalar(sa.text("SHOW server_version_num")) or 0))
    # A session lock on the service's own schema: migrations of different services do not wait for each other.
    key = sa.func.hashtextextended(sa.func.current_schema(), _LOCK_KEY)
    connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
    connection.commit()
    try:
        action(connection)
        connection.commit()
    finally:
        connection.rollback()
        connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))
        connection.commit()


def run_environment(metadata: sa.MetaData) -> None:
    """Run migrations from a service's `env.py`, on the connection that `upgrade` has opened."""
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError("run migrations with `posthorn-<service> migrate`")
    connection.execute(sa.text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
    connection.execute(sa.text("SET statement_timeout = 0"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=False,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_upgrade(database_url: str, folder: Path) -> None:
    """`upgrade` for command lines."""
    asyncio.run(upgrade(database_url, folder))
