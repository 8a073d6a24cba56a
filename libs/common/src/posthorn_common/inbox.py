"""The inbox: which events a consumer has handled already, known in the transaction that handles them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from posthorn_common.loops import run_every

log = structlog.get_logger(__name__)

RETENTION = timedelta(days=30)
_PURGE_SECONDS = 3600.0
_PURGE_ROWS = 10_000

# For statements; a service's own MetaData has the full definition, under the same name.
_INBOX = sa.table("inbox", sa.column("consumer"), sa.column("event_id"), sa.column("received_at"))
_FIRST_TIME = insert(_INBOX).on_conflict_do_nothing(index_elements=["consumer", "event_id"])
_PURGE = sa.text(
    "DELETE FROM inbox WHERE ctid = ANY(ARRAY("
    "SELECT ctid FROM inbox WHERE received_at < now() - :retention LIMIT :rows FOR UPDATE SKIP LOCKED))"
).bindparams(sa.bindparam("retention", type_=sa.Interval))


def inbox_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table `inbox` to a service's MetaData; the service's migrations create it."""
    return sa.Table(
        "inbox",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now(), index=True),
    )


async def first_time(session: AsyncSession | AsyncConnection, consumer: str, event_id: UUID) -> bool:
    """Note the event as handled, in the caller's transaction; return False if it was noted before.

    `consumer` names the handler, so that several handlers of a service may see the same event. While another
    transaction handles the same event this waits for its end: a rollback there makes this the first time.
    """
    values = {"consumer": consumer, "event_id": event_id}
    result = await session.execute(_FIRST_TIME.values(**values).returning(sa.literal(True)))
    return result.scalar() is not None


async def purge_inbox(engine: AsyncEngine, *, retention: timedelta = RETENTION) -> int:
    """Delete rows older than `retention`, in short transactions; return how many.

    An event that comes again after that would be handled again: keep it longer than dead letters wait for a redrive.
    """
    purged = 0
    while True:
        async with engine.begin() as connection:
            result = await connection.execute(_PURGE, {"retention": retention, "rows": _PURGE_ROWS})
        purged += result.rowcount
        if result.rowcount < _PURGE_ROWS:
            break
    if purged:
        log.info("inbox_purged", rows=purged)
    return purged


async def run_inbox_purge(engine: AsyncEngine, stop: asyncio.Event) -> None:
    """Purge every hour until `stop` is set. Harmless in several processes at once."""
    await run_every(_PURGE_SECONDS, lambda: purge_inbox(engine), stop=stop, name="inbox_purge")
