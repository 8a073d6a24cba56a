"""The outbox table and how events get into it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from posthorn_contracts.envelope import Event

NOTIFY_CHANNEL = "posthorn_outbox"

INSERT_SQL = "INSERT INTO outbox (id, event_type, body) VALUES ($1, $2, $3)"
"""For code that speaks asyncpg: `event.id`, `event.type`, `event.model_dump_json()`. Relays see it within a second."""

_NOW = sa.select(sa.func.clock_timestamp())
# For statements; a service's own MetaData has the full definition, under the same name.
_OUTBOX = sa.table("outbox", sa.column("id", sa.Uuid), sa.column("event_type"), sa.column("body"))
_ADD = sa.insert(_OUTBOX).returning(
    # The payload is the schema: services that share a database share the channel.
    sa.func.pg_notify(NOTIFY_CHANNEL, sa.func.current_schema())
)


def outbox_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table `outbox` to a service's MetaData; the service's migrations create it.

    `available_at` is when a relay may take the row: at once, at the end of a lease, or after a pause.
    """
    return sa.Table(
        "outbox",
        metadata,
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease_token", sa.Uuid),
    )


class Outbox:
    """Where use cases leave events."""

    async def add(self, session: AsyncSession | AsyncConnection, event: Event, *, written: str | None = None) -> None:
        """Store the event in the caller's transaction; it is published after the commit, or never.

        It occurs now by the database's clock: events about one thing are compared by time, and may come from machines
        whose clocks differ. `written` is the event as JSON, from somebody who makes it quicker; it keeps its time.
        """
        if written is None:
            now = (await session.execute(_NOW)).scalar_one()
            written = event.model_copy(update={"occurred_at": now}).model_dump_json()
        values = {"id": event.id, "event_type": event.type, "body": written}
        await session.execute(_ADD.values(**values))
