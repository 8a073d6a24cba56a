"""The schema."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from posthorn_campaigns.bootstrap import MIGRATIONS
from posthorn_common import migrations

pytestmark = pytest.mark.integration


async def test_the_schema_can_be_built_and_taken_down(make_database: Callable[[str], str]) -> None:
    url = make_database("campaigns")
    await migrations.upgrade(url, MIGRATIONS)
    await migrations.check(url, MIGRATIONS)
    await migrations.downgrade(url, MIGRATIONS)
    await migrations.upgrade(url, MIGRATIONS)
    await migrations.check(url, MIGRATIONS)


async def test_addresses_sort_by_bytes_whatever_the_collation_of_the_database(campaigns_database: str) -> None:
    """So the unique index of addresses serves searches by their beginning."""
    engine = create_async_engine(campaigns_database)
    query = sa.text(
        "SELECT collname FROM pg_attribute JOIN pg_collation ON pg_collation.oid = attcollation "
        "WHERE attrelid = CAST('contacts' AS regclass) AND attname = 'email'"
    )
    async with engine.connect() as connection:
        assert await connection.scalar(query) == "C"
    await engine.dispose()
