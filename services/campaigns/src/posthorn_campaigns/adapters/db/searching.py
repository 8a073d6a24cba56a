"""Searching contacts by rules that people write: within bounds of time."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.domain.errors import SegmentTooSlow

_QUERY_CANCELED = "57014"
_MILLISECONDS = 10_000


async def time_of(connection: AsyncConnection) -> datetime:
    """Return the transaction's time, to which relative dates refer, in UTC."""
    now: datetime = (await connection.execute(sa.select(sa.func.now()))).scalar_one()
    return now


@contextlib.asynccontextmanager
async def too_slow(connection: AsyncConnection) -> AsyncGenerator[None]:
    """Let statements take ten seconds each. Raises SegmentTooSlow."""
    await connection.execute(sa.text(f"SET LOCAL statement_timeout = {_MILLISECONDS}"))
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _QUERY_CANCELED:
            raise SegmentTooSlow from error
        raise
