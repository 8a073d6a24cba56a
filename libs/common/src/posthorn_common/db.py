"""PostgreSQL through SQLAlchemy Core and asyncpg.

Each service owns one schema; its database role has that schema as search path, so table names stay short.
"""

from __future__ import annotations

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def new_metadata() -> sa.MetaData:
    """Return the MetaData for a service's tables, with every constraint named."""
    return sa.MetaData(naming_convention=NAMING_CONVENTION)


def create_engine(url: str, *, application_name: str, pool_size: int = 10) -> AsyncEngine:
    """Return an engine whose statements end after 30 s and whose idle transactions end after 60 s."""
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=5,
        pool_timeout=10,
        pool_pre_ping=True,
        # Errors are logged: what people have entered must not be in them.
        hide_parameters=True,
        json_deserializer=orjson.loads,
        connect_args={
            "server_settings": {
                "application_name": application_name,
                "statement_timeout": "30000",
                "idle_in_transaction_session_timeout": "60000",
            }
        },
    )


async def ping(engine: AsyncEngine) -> None:
    """Ask the database for a sign of life; raises what SQLAlchemy raises if there is none."""
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT 1"))
